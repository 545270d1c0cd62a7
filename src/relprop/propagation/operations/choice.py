"""Operations that choose: relevance goes to the winner, ties share equally (thesis 2.33-2.35)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..recording import Operation, Value
from ..rules import Flat, Rule
from .family import Context, Family, OneInput, Share, Sharer, only
from .registry import keep_whole, overloads, register_operation
from .windows import WindowAxis, adaptive_axis, gather, regular_axis, scatter, spread, valid
from .winners import PoolAxis, to_winners

Weights = Callable[
    [Tensor, Tensor, Tensor], Tensor
]  # windows, outputs, valid -> weight of each element


@dataclass(frozen=True, eq=False)
class WindowPool(OneInput):
    """Pooling whose outputs share by weights within their windows, normalised to one."""

    axes: Sequence[WindowAxis]
    weights: Weights
    maximum: Sequence[PoolAxis] = ()  # of max pooling with windows of one size
    kind: str = field(default="pooling", kw_only=True)
    flattens: ClassVar[bool] = True
    default: ClassVar[str] = "to the winner"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        output = context.operation.output
        if self.maximum and context.workspace.reuses and not isinstance(rule, Flat):
            x, best = context.tensor(self.value), context.tensor(output)
            return lambda relevance: Share([to_winners(x, best, only(relevance), self.maximum)])
        x = context.tensor(self.value)
        real = valid(self.axes, x.device)
        if isinstance(rule, Flat):
            weights = real.to(x.dtype).expand(*x.shape[: x.ndim - len(self.axes)], *real.shape)
        else:
            weights = self.weights(
                gather(x, self.axes), spread(context.tensor(output), self.axes), real
            )
        inner = tuple(range(weights.ndim - 2 * len(self.axes) + 1, weights.ndim, 2))
        total = weights.sum(inner)
        weights = weights / spread(total.clamp(min=torch.finfo(total.dtype).tiny), self.axes)

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            lost = torch.where(total == 0, received, 0.0)
            return Share(
                [scatter(weights * spread(received, self.axes), self.axes)],
                lost=context.sum(lost, output),
            )

        return share


@dataclass(frozen=True, eq=False)
class Maximum(Family):
    """The largest over axes, or of several tensors: each winner takes R over the number of winners.

    Where a constant wins, its share is booked as bias.
    """

    values: Sequence[Value]
    constant: Tensor | None = None
    axes: tuple[int, ...] = ()
    keep: bool = True
    kind: str = field(default="pooling", kw_only=True)
    default: ClassVar[str] = "to the winner"

    @property
    def sources(self) -> Sequence[Value]:
        return self.values

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        output = context.operation.output
        best = self._kept(context.tensor(output))
        winners = [(context.tensor(value) == best).to(context.dtype) for value in self.values]
        constant = None if self.constant is None else (self.constant == best).to(context.dtype)
        every = winners if constant is None else [*winners, constant.expand(best.shape)]
        if self.axes:
            count = winners[0].sum(self.axes, keepdim=True)
        else:
            count = torch.stack(torch.broadcast_tensors(*every)).sum(0)

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            each = self._kept(received) / count
            messages: list[Tensor | None] = [
                (winner * each).sum_to_size(value.shape)
                for winner, value in zip(winners, self.values, strict=True)
            ]
            bias = None if constant is None else context.sum(constant * each, output)
            return Share(messages, bias=bias)

        return share

    def _kept(self, tensor: Tensor) -> Tensor:
        if self.keep:
            return tensor
        for axis in self.axes:
            tensor = tensor.unsqueeze(axis)
        return tensor


def _winners(windows: Tensor, outputs: Tensor, real: Tensor) -> Tensor:
    return ((windows == outputs) & real).to(windows.dtype)


@register_operation(*overloads("max_pool2d_with_indices", "max_pool3d_with_indices"))
def max_pool(operation: Operation) -> Family:
    """Max pooling in one to three dimensions."""
    x, kernel = operation.args[:2]
    n = len(kernel)
    stride = operation.argument(2, "stride") or kernel
    padding = _per_axis(operation.argument(3, "padding", 0), n)
    dilation = _per_axis(operation.argument(4, "dilation", 1), n)
    sizes = (x.shape[-n:], operation.output.shape[-n:])
    shapes = list(zip(*sizes, kernel, stride, padding, dilation, strict=True))
    axes = [regular_axis(*numbers) for numbers in shapes]
    return WindowPool(x, axes, _winners, [PoolAxis(*numbers) for numbers in shapes])


@register_operation(*overloads("adaptive_max_pool2d", "adaptive_max_pool3d"))
def adaptive_max_pool(operation: Operation) -> Family:
    """Adaptive max pooling."""
    x, sizes = operation.args[:2]
    axes = [adaptive_axis(i, o) for i, o in zip(x.shape[-len(sizes) :], sizes, strict=True)]
    return WindowPool(x, axes, _winners)


@keep_whole(functional.lp_pool1d, functional.lp_pool2d, functional.lp_pool3d)
def p_norm_pool(operation: Operation) -> Family:
    """(sum x^p)^(1/p): R_i = x_i^p / sum x^p (thesis 2.82), divided by the largest first."""
    x = operation.args[0]
    p = float(operation.argument(1, "norm_type"))
    kernel = operation.argument(2, "kernel_size")
    n = int(operation.target.__name__[-2])
    kernel = _per_axis(kernel, n)
    stride = operation.argument(3, "stride")
    stride = kernel if stride is None else _per_axis(stride, n)
    shapes = zip(x.shape[-n:], operation.output.shape[-n:], kernel, stride, strict=True)
    axes = [regular_axis(*numbers, 0, 1) for numbers in shapes]

    def powers(windows: Tensor, outputs: Tensor, real: Tensor) -> Tensor:
        inner = tuple(range(windows.ndim - 2 * n + 1, windows.ndim, 2))
        largest = windows.abs().amax(inner, keepdim=True)
        tiny = torch.finfo(windows.dtype).tiny
        return (windows / largest.clamp(min=tiny)).pow(p) * real

    return WindowPool(x, axes, powers)


@register_operation(*overloads("amax", "amin", "max.dim", "min.dim"))
def extreme_over_axes(operation: Operation) -> Family:
    """max or min over axes."""
    x = operation.args[0]
    axes = operation.argument(1, "dim", [])
    listed = axes if isinstance(axes, (list, tuple)) else [axes]
    chosen = tuple(sorted(axis % x.ndim for axis in listed)) or tuple(range(x.ndim))
    return Maximum([x], None, chosen, bool(operation.argument(2, "keepdim", False)))


@register_operation(*overloads("maximum", "minimum"))
def extreme_of_two(operation: Operation) -> Family:
    """The elementwise larger or smaller of two tensors."""
    values = [x for x in operation.args if isinstance(x, Value)]
    constants = [x for x in operation.args if not isinstance(x, Value)]
    return Maximum(values, constants[0] if constants else None)


def _per_axis(numbers: Any, n: int) -> list[int]:
    listed = list(numbers) if isinstance(numbers, (list, tuple)) else [numbers]
    return listed * n if len(listed) == 1 else listed
