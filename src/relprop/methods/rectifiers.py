"""Methods that change what a ReLU does on the way back: deconvolution and guided backpropagation.

They run on a recording, in which every ReLU is an operation: functional, reused and in-place ones
are found as well as modules. Max pooling goes back by its switches, the positions of the winners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ..errors import InvalidInput, UnsupportedOperation
from ..propagation.facts import clamp_limits
from ..propagation.operations.elementwise import Activation
from ..propagation.operations.registry import HANDLERS, overloads
from ..propagation.record import record
from ..propagation.recording import Operation, Recording
from ..propagation.route import find_ending
from ..result import Explanation
from .objective import Ask, Pass, asking, explanation_of
from .registry import register
from .replayed import Replaced, replayed_pass

RELUS = set(overloads("relu", "relu6"))
CLAMPS = set(overloads("hardtanh", "clamp"))
HALF_CLAMPS = set(overloads("clamp_min"))
THRESHOLDS = set(overloads("threshold"))
HIDDEN = {torch.rnn_relu, torch.rnn_relu_cell}
Rectify = Callable[[Tensor], Tensor]


class Deconvolved(torch.autograd.Function):
    """A ReLU whose backward pass is a ReLU of the signal, whatever the input was."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, rectify: Rectify, ceiling: float) -> Tensor:
        return rectify(x)

    @staticmethod
    def backward(ctx: FunctionCtx, *signals: Tensor) -> tuple[Tensor, None, None]:
        return signals[0].clamp(min=0), None, None


class Guided(torch.autograd.Function):
    """A ReLU whose backward pass keeps what is positive, where the input was in its linear part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectify: Rectify, ceiling: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < ceiling))
        return rectify(x)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        (linear,) = ctx.saved_tensors
        return signals[0].clamp(min=0) * linear, None, None


@register("deconvolution", question="signal", cost="1, and a forward pass to record")
def deconvolution(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1
) -> Explanation:
    """The gradient with every ReLU on the way back applied to the signal itself.

    A question about the signal: which pattern would excite the output (Zeiler and Fergus 2014;
    thesis 3.2). ReLUs, ReLU6 and clamps at zero are rectifiers; other activations keep their
    derivative, which the notes tell. Cost: one gradient, and a forward pass to record. Raises
    InvalidInput for a model without rectifiers, InvalidTarget, UnsupportedOperation.
    """
    recording = record(model, inputs, layers=())
    run = signal_pass("deconvolution", recording, asking(target, class_axis))
    return explanation_of("deconvolution", inputs, run, run.gradients, pooling="l2")


@register("guided-backprop", question="signal", cost="1, and a forward pass to record")
def guided_backprop(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1
) -> Explanation:
    """The gradient, of which every ReLU lets only what is positive pass.

    A question about the signal (Springenberg et al. 2015; thesis 3.2). Otherwise as
    `deconvolution`.
    """
    run = signal_pass(
        "guided-backprop", record(model, inputs, layers=()), asking(target, class_axis)
    )
    return explanation_of("guided-backprop", inputs, run, run.gradients, pooling="l2")


FUNCTIONS = {"deconvolution": Deconvolved, "guided-backprop": Guided}


def signal_pass(method: str, recording: Recording, ask: Ask) -> Pass:
    """The signal that one of the two sends back through a recorded run, whose values are let go."""
    ceilings = rectifiers(recording, method)
    notes = _others(recording, ceilings)
    run = replayed_pass(recording, ask, replaced=_instead(ceilings, FUNCTIONS[method]))
    return replace(run, notes=(*run.notes, *notes))


def rectifiers(recording: Recording, method: str) -> dict[int, float]:
    """The highest value that each rectifier lets through (infinite, or 6), by the operation.

    Raises InvalidInput where there are none, UnsupportedOperation for those in a recurrent layer.
    """
    found = {}
    for operation in recording.operations:
        if operation.target in HIDDEN:
            raise UnsupportedOperation(
                f"{operation.name} in module {operation.module!r} has its ReLUs inside, where "
                f"{method} cannot change them"
            )
        ceiling = _ceiling(operation)
        if ceiling is not None:
            found[operation.index] = ceiling
    if not found:
        raise InvalidInput(
            f"the model has no ReLU, so there is nothing that {method} changes and its map would "
            "be the gradient: ask for method='gradient'"
        )
    return found


def _ceiling(operation: Operation) -> float | None:
    """None for what is no rectifier."""
    target = operation.target
    if target in RELUS:
        return 6.0 if "relu6" in operation.name else inf
    if target in CLAMPS:
        low, high = clamp_limits(operation)
        numbers = not isinstance(low, Tensor) and not isinstance(high, Tensor)
        return float(high) if numbers and low == 0 and high > 0 else None
    if target in HALF_CLAMPS:
        return inf if operation.argument(1, "min") == 0 else None
    if target in THRESHOLDS:
        limits = operation.argument(1, "threshold"), operation.argument(2, "value")
        return inf if limits == (0, 0) else None
    return None


def _instead(ceilings: dict[int, float], function: type[torch.autograd.Function]) -> Replaced:
    def replaced(operation: Operation) -> Callable[..., Any] | None:
        if operation.index not in ceilings:
            return None

        def rectified(x: Tensor, *rest: Any, **named: Any) -> Tensor:
            def rectify(given: Tensor) -> Tensor:
                result: Tensor = operation.target(given, *rest, **named)
                return result

            applied: Tensor = function.apply(x, rectify, ceilings[operation.index])
            return applied

        return rectified

    return replaced


def _others(recording: Recording, ceilings: dict[int, float]) -> tuple[str, ...]:
    """A note on the activations that keep their derivative."""
    ending = find_ending(recording).operation
    names = {
        operation.name
        for operation in recording.operations
        if operation.index not in ceilings and operation is not ending and _is_activation(operation)
    }
    return (f"activations that keep their derivative: {', '.join(sorted(names))}",) if names else ()


def _is_activation(operation: Operation) -> bool:
    handler = HANDLERS.get(operation.target)
    return handler is not None and isinstance(handler(operation), Activation)
