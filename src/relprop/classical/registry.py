"""Which class of scikit-learn is explained how: two registers, open to others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from ..errors import UnsupportedOperation
from .shared import Shared
from .walking import Decided, Options

Handler = Callable[[Any, Any, Options], Decided]
Back = Callable[[Any, Any, Any, Any, Options], Shared]
F = TypeVar("F", bound=Callable[..., Any])


class Step(NamedTuple):
    """How one kind of transformer shares, and what the rule is called."""

    back: Back
    rule: str


ESTIMATORS: dict[type, Handler] = {}
STEPS: dict[type, Step] = {}
_REMEDIES = {
    "estimator": "register one: relprop.classical.estimator(its class); a kernel machine of your "
    "own only needs expansions_ and expansion_names_ (relprop.classical.Expansion)",
    "transformer": "give it a method redistribute(inputs, relevance) that returns a "
    "relprop.classical.Shared, or register one: relprop.classical.step(its class)",
}


def estimator(*classes: type) -> Callable[[F], F]:
    """Register how fitted models of these classes are explained.

    The function takes `(model, inputs, options)` and returns a Decided.
    """

    def register(handler: F) -> F:
        ESTIMATORS.update(dict.fromkeys(classes, handler))
        return handler

    return register


def step(*classes: type, rule: str = "own") -> Callable[[F], F]:
    """Register how fitted transformers of these classes take relevance back.

    The function takes `(transformer, inputs, outputs, relevance, options)` and returns a Shared.
    """

    def register(handler: F) -> F:
        STEPS.update(dict.fromkeys(classes, Step(handler, rule)))
        return handler

    return register


def handler_of(kind: str, model: Any, registered: dict[type, Any], methods: Sequence[str]) -> Any:
    """The entry of a model's class, or of the class that it has all of `methods` from.

    Raises UnsupportedOperation by name otherwise: a subclass that computes something else is
    not taken for its parent.
    """
    own = type(model)
    for parent in own.__mro__:
        if parent in registered:
            changed = [m for m in methods if _method(own, m) is not _method(parent, m)]
            if not changed:
                return registered[parent]
            raise UnsupportedOperation(
                f"{own.__name__} inherits from {parent.__name__} and has a {changed[0]} of its "
                f"own, so it is not explained as its parent; {_REMEDIES[kind]}"
            )
    known = ", ".join(sorted(entry.__name__ for entry in registered))
    raise UnsupportedOperation(
        f"no way back is known through the {kind} {own.__name__}; {_REMEDIES[kind]}. "
        f"Known are: {known}"
    )


def _method(owner: type, name: str) -> Any:
    return inspect.getattr_static(owner, name, None)
