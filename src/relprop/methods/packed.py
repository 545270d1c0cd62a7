"""Gradients at many points: those of several points of all samples run as one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..propagation.targets import Start
from .objective import Ask, Maps, Pass, tensors_of
from .plain import Differentiator

Shifted = Callable[[int, slice], Tensor]  # number of the input, which points -> [points, N, ...]


def looked(differentiate: Differentiator, inputs: Any, ask: Ask) -> Pass:
    """A forward pass, for the output and the target, without its gradient."""
    starts: list[Start] = []

    def only_look(output: Tensor, said: Tensor) -> Start:
        starts.append(ask(output, said))
        return Start([], starts[-1].target, starts[-1].single)

    run = differentiate(inputs, only_look)
    return Pass(run.output, starts[-1], run.points, [], run.notes)


def combined(
    differentiate: Differentiator,
    inputs: Any,
    start: Start,
    shifted: Shifted,
    factors: Sequence[float],
    pack: int,
    of: Callable[[Tensor], Tensor] | None = None,
) -> Maps:
    """The sum over points of factor times (a function of) the gradient, for each map and input."""
    tensors = tensors_of(inputs)
    together = max(1, pack // tensors[0].shape[0])
    totals: Maps = []
    for begin in range(0, len(factors), together):
        which = slice(begin, begin + together)
        count = len(factors[which])
        packed = _packed(inputs, shifted, which, count)
        weights = [_repeated(weight, count) for weight in start.weights]
        run = differentiate(packed, _given(Start(weights, None, True)))
        found = [
            [_weighted(each, factors[which], of) for each in gradients]
            for gradients in run.gradients
        ]
        totals = found if not totals else [_sums(*pair) for pair in zip(totals, found, strict=True)]
    return totals


def _given(start: Start) -> Ask:
    """What is asked is known before the output is."""
    return lambda output, said: start


def _packed(inputs: Any, shifted: Shifted, which: slice, count: int) -> Any:
    """The inputs at several points, one batch of all samples after the other."""
    flat, structure = pytree.tree_flatten(inputs)
    number, leaves = 0, []
    for leaf in flat:
        if isinstance(leaf, Tensor):
            real = leaf.is_floating_point()
            leaf = shifted(number, which).flatten(0, 1) if real else _repeated(leaf, count)
            number += 1
        leaves.append(leaf)
    return pytree.tree_unflatten(leaves, structure)


def _repeated(tensor: Tensor, count: int) -> Tensor:
    return tensor.detach().expand(count, *tensor.shape).flatten(0, 1)


def _weighted(
    gradients: Tensor | None, factors: Sequence[float], of: Callable[[Tensor], Tensor] | None
) -> Tensor | None:
    """The sum over points of factors times gradients `[points * N, ...]`, in float32 at least."""
    if gradients is None:
        return None
    wide = gradients if gradients.dtype == torch.float64 else gradients.float()
    wide = wide if of is None else of(wide)
    each = wide.unflatten(0, (len(factors), -1))
    return torch.tensordot(each.new_tensor(factors), each, 1)


def _sums(one: list[Tensor | None], other: list[Tensor | None]) -> list[Tensor | None]:
    pairs = zip(one, other, strict=True)
    return [None if a is None or b is None else a + b for a, b in pairs]
