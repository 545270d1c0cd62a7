"""Normalisation layers: batch norm is affine; the others are linear with 1/std held constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..recording import Operation, Value
from ..rules import Epsilon, Flat, Pass, Rule
from .family import Context, Family, OneInput, Refused, Share, Sharer, only
from .fixed_maps import Centred, Scale
from .linear import Linear, Term
from .registry import keep_whole, overloads, register_operation

aten = torch.ops.aten


@register_operation(
    *overloads(
        "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update"
    ),
    *overloads("_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
    *overloads("_batch_norm_with_update", "_batch_norm_with_update_functional"),
)
def batch_norm(operation: Operation) -> Family:
    """x s + (shift - mean s), s = scale / sqrt(var + eps): Epsilon over its addends (thesis
    2.47-2.54).
    """
    x, scale, shift, mean, variance = operation.args[:5]
    inference = operation.target in overloads(
        "_native_batch_norm_legit_no_training", "_batch_norm_no_update"
    )
    training = not inference and bool(operation.args[5])
    if training or mean is None or variance is None:
        return Refused("batch norm uses batch statistics, which mix the samples; call model.eval()")
    if any(isinstance(p, Value) for p in (scale, shift, mean, variance)):
        return Refused("batch norm with parameters that depend on the input has no rule")
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    factor = (variance.to(wide) + operation.args[-1]).rsqrt()
    if scale is not None:
        factor = factor * scale.to(wide)
    constant = -mean.to(wide) * factor
    if shift is not None:
        constant = constant + shift.to(wide)
    per_channel = (-1, *[1] * (x.ndim - 2))
    return Linear(
        [Term(x, Scale(factor.reshape(per_channel), x.shape))],
        constant.reshape(per_channel),
        kind="normalisation",
    )


@dataclass(frozen=True, eq=False)
class Standardisation(OneInput):
    """(x - mean) / std * scale + shift over groups, 1/std held constant: Epsilon (AttnLRP).

    `grouped` is the shape in which the normalised axes are `axes`; `centres` is False for RMS norm.
    """

    grouped: tuple[int, ...]
    axes: tuple[int, ...]
    scale: Tensor | None
    shift: Tensor | None
    eps: float
    centres: bool = True
    kind: str = field(default="normalisation", kw_only=True)
    accepts: ClassVar[tuple[str, ...]] = ("Epsilon", "Pass")
    flattens: ClassVar[bool] = True
    default: ClassVar[str] = "Epsilon(1e-06), 1/std held constant"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        if isinstance(rule, (Pass, Flat)):
            return lambda relevance: Share([relevance[0]])
        x = context.tensor(self.value)
        grouped = x.reshape(self.grouped)
        if self.centres:
            spread = grouped.var(self.axes, correction=0, keepdim=True)
        else:
            spread = grouped.square().mean(self.axes, keepdim=True)
        scale = (spread + self.eps).rsqrt().expand(self.grouped).reshape(x.shape)
        if self.scale is not None:
            scale = scale * context.constant(self.scale)
        axes = self.axes if self.centres else ()
        centred = Centred(scale, x.shape, self.grouped, axes)
        linear = Linear([Term(self.value, centred)], self.shift, kind=self.kind)
        return linear.prepare(rule or Epsilon(), context)


@register_operation(*overloads("native_layer_norm"))
def layer_norm(operation: Operation) -> Family:
    """Over the last axes."""
    x, shape, scale, shift, eps = operation.args
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return Standardisation(x, tuple(x.shape), axes, scale, shift, eps)


@register_operation(*overloads("native_group_norm"))
def group_norm(operation: Operation) -> Family:
    """Over groups of channels and all positions."""
    x, scale, shift, samples, channels, _, groups, eps = operation.args
    per_channel = (-1, *[1] * (x.ndim - 2))
    grouped = (samples, groups, channels // groups, *x.shape[2:])
    scale, shift = (None if p is None else p.reshape(per_channel) for p in (scale, shift))
    return Standardisation(x, grouped, tuple(range(2, len(grouped))), scale, shift, eps)


@keep_whole(functional.instance_norm, torch.instance_norm)
def instance_norm(operation: Operation) -> Family:
    """Over the positions of each channel of each sample."""
    x = operation.args[0]
    names = ("running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
    if operation.target is torch.instance_norm:
        names = (
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "use_input_stats",
            "momentum",
            "eps",
        )
    given: dict[str, Any] = {
        name: operation.argument(position, name) for position, name in enumerate(names, start=1)
    }
    if given["use_input_stats"] is False:
        return Refused("instance norm with running statistics has no rule; use batch norm")
    per_channel = (-1, *[1] * (x.ndim - 2))
    scale, shift = (
        None if given[n] is None else given[n].reshape(per_channel) for n in ("weight", "bias")
    )
    eps = 1e-5 if given["eps"] is None else given["eps"]
    return Standardisation(x, tuple(x.shape), tuple(range(2, x.ndim)), scale, shift, eps)


@keep_whole(functional.rms_norm, torch.rms_norm)
def rms_norm(operation: Operation) -> Family:
    """x / rms(x) * scale over the last axes."""
    x, shape = operation.args[0], operation.argument(1, "normalized_shape")
    scale, eps = operation.argument(2, "weight"), operation.argument(3, "eps")
    if eps is None:
        eps = torch.finfo(x.dtype).eps
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return Standardisation(x, tuple(x.shape), axes, scale, None, eps, centres=False)


@dataclass(frozen=True, eq=False)
class Spread(Refused):
    """A norm, variance or deviation over axes: a scale, held constant as a factor or divisor."""

    axes: tuple[int, ...] = ()


@register_operation(*overloads("linalg_vector_norm", "norm.ScalarOpt_dim", "norm.Scalar"))
@register_operation(*overloads("std.correction", "var.correction"))
def spread_over_axes(operation: Operation) -> Family:
    """Its use as a scale is covered; as a feature it has no rule."""
    x = operation.args[0]
    first_is_order = "norm" in operation.name
    axes = operation.argument(2 if first_is_order else 1, "dim")
    chosen = tuple(axis % x.ndim for axis in axes) if axes else tuple(range(x.ndim))
    what = "a norm" if first_is_order else "a variance or deviation"
    return Spread(f"{what} used as a feature has no rule (as a scale it is held constant)", chosen)


@dataclass(frozen=True, eq=False)
class LocalResponse(OneInput):
    """Local response normalisation by its Taylor weights (thesis 2.46, corrected, divided by
    their sum).

    With b = alpha / (size k): v_jj = (1 + b x_j^2)^-c, v_ij = -2 b c x_i^2 / (1 + b sum)^(c + 1)
    for i != j in the window of j, R_i<-j = v_ij / sum_i v_ij R_j. The sum stays above 0.26.
    """

    size: int
    b: float
    c: float
    kind: str = field(default="normalisation", kw_only=True)
    accepts: ClassVar[tuple[str, ...]] = ("Pass",)
    flattens: ClassVar[bool] = True
    default: ClassVar[str] = "Taylor weights"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        if isinstance(rule, (Pass, Flat)):
            return lambda relevance: Share([relevance[0]])
        b, c = self.b, self.c
        before, after = self.size // 2, (self.size - 1) // 2
        squares = context.tensor(self.value).square()
        in_window = window_sum(squares, before, after)
        slope = -2 * b * c * (1 + b * in_window).pow(-c - 1)
        own = (1 + b * squares).pow(-c)
        total = own + slope * (in_window - squares)

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            quotient = received / total
            sloped = slope * quotient
            across = window_sum(sloped, after, before) - sloped
            return Share([own * quotient + squares * across])

        return share


def window_sum(x: Tensor, before: int, after: int) -> Tensor:
    """The sum over channels (axis 1) from `before` before to `after` after each one."""
    padding = [0] * (2 * (x.ndim - 2)) + [before, after]
    padded = functional.pad(x, padding)
    return torch.stack([padded.narrow(1, k, x.shape[1]) for k in range(before + after + 1)]).sum(0)


@keep_whole(functional.local_response_norm)
def local_response_norm(operation: Operation) -> Family:
    """x / (k + alpha / size sum x^2)^beta over a window of channels."""
    x, size = operation.args[0], operation.argument(1, "size")
    alpha, beta = operation.argument(2, "alpha", 1e-4), operation.argument(3, "beta", 0.75)
    k = operation.argument(4, "k", 1.0)
    return LocalResponse(x, size, alpha / (size * k), beta)
