"""Which operation belongs to which family: the table that the plan looks things up in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..recording import Operation
    from .family import Family

Handler = Callable[["Operation"], "Family"]

KINDS = (
    "dense",
    "convolution",
    "pooling",
    "merge",
    "normalisation",
    "product",
    "softmax",
    "activation",
    "movement",
    "embedding",
)
HANDLERS: dict[Any, Handler] = {}
WHOLE: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], bool]] = {}


def register_operation(*targets: Any) -> Callable[[Handler], Handler]:
    """Register the handler of ATen overloads:
    `register_operation(torch.ops.aten.cumsum.default)(handler)`.

    `handler(operation)` says what the operation is: it returns a family (`Linear`, `Activation`,
    `Move`, ...) built from `operation.args`, in which dependent tensors are `Value`s. A later
    registration replaces an earlier one.
    """
    for target in targets:
        if not callable(target):
            raise TypeError(
                "register_operation takes operations such as torch.ops.aten.cumsum.default, got "
                f"{target!r}"
            )

    def register(handler: Handler) -> Handler:
        for target in targets:
            HANDLERS[target] = handler
        return handler

    return register


def keep_whole(
    *functions: Any,
    when: Callable[[tuple[Any, ...], dict[str, Any]], bool] = lambda args, kwargs: True,
) -> Callable[[Handler], Handler]:
    """Register a Python-level function that is recorded as one operation (it would decompose
    badly).
    """

    def register(handler: Handler) -> Handler:
        for function in functions:
            WHOLE[function] = when
            HANDLERS[function] = handler
        return handler

    return register


def is_whole(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call is recorded as one operation."""
    try:
        when = WHOLE.get(function)
    except TypeError:  # an unhashable callable
        return False
    return when is not None and when(args, kwargs)


def overloads(*names: str) -> list[Any]:
    """The ATen overloads of these names (`"mean.dim"`) that this version of torch has."""
    found = []
    for name in names:
        packet, _, overload = name.partition(".")
        try:
            found.append(getattr(getattr(torch.ops.aten, packet), overload or "default"))
        except AttributeError:
            continue
    return found
