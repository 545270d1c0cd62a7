"""Sums and averages over windows or axes, and interpolation: linear, with weights that are not
negative."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..recording import Operation, Value
from .family import Family, Refused
from .fixed_maps import Pooled, Resampled
from .linear import Linear, Term
from .registry import overloads, register_operation
from .windows import adaptive_axis

aten = torch.ops.aten


@register_operation(*overloads("avg_pool2d", "avg_pool3d"))
def average_pool(operation: Operation) -> Family:
    """Average pooling; the divisor of each output is what torch used (padding, ceil_mode,
    override).
    """
    x = operation.args[0]
    two = operation.target is aten.avg_pool2d.default
    axes = 2 if two else 3
    kernel = operation.args[1]
    stride = operation.argument(2, "stride") or kernel
    padding = operation.argument(3, "padding", [0] * axes)
    ceil_mode = operation.argument(4, "ceil_mode", False)
    include = operation.argument(5, "count_include_pad", True)
    override = operation.argument(6, "divisor_override")
    forward = aten.avg_pool2d.default if two else aten.avg_pool3d.default
    backward = aten.avg_pool2d_backward.default if two else aten.avg_pool3d_backward.default
    window = (kernel, stride, padding, ceil_mode, include)

    def total(t: Tensor) -> Tensor:
        return forward(t, *window, 1)

    def total_transposed(s: Tensor) -> Tensor:
        shaped = s.new_empty(1).expand(x.shape)
        return backward(s.contiguous(), shaped, *window, 1)

    ones = torch.ones(1, 1, *x.shape[-axes:], dtype=torch.float64)
    seen = total(ones)
    factor = torch.where(seen > 0, forward(ones, *window, override) / seen, 0.0)
    return _pooled(x, total, total_transposed, factor)


@register_operation(*overloads("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"))
def adaptive_average_pool(operation: Operation) -> Family:
    """Adaptive average pooling; windows may overlap and differ in size."""
    x, sizes = operation.args
    spatial = x.shape[-len(sizes) :]
    lengths = [
        adaptive_axis(i, o).valid.sum(1).double() for i, o in zip(spatial, sizes, strict=True)
    ]
    count = lengths[0]
    for length in lengths[1:]:
        count = count[..., None] * length
    forward, backward = (
        (aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d_backward.default)
        if len(sizes) == 2
        else (aten._adaptive_avg_pool3d.default, aten._adaptive_avg_pool3d_backward.default)
    )
    shaped = torch.Size(x.shape)

    def total(t: Tensor) -> Tensor:
        return forward(t, sizes) * count.to(t)

    def total_transposed(s: Tensor) -> Tensor:
        return backward(s * count.to(s), s.new_zeros(1).expand(shaped))

    return _pooled(x, total, total_transposed, 1 / count)


@register_operation(*overloads("mean.dim", "mean", "sum.dim_IntList", "sum"))
def reduce_axes(operation: Operation) -> Family:
    """Mean or sum over axes."""
    x = operation.args[0]
    axes = operation.argument(1, "dim") if "dim" in str(operation.target) else None
    keep = bool(operation.argument(2, "keepdim", False))
    every = range(x.ndim) if not axes and axes != 0 else axes
    chosen = sorted({axis % x.ndim for axis in every})
    count = prod(x.shape[axis] for axis in chosen)
    factor = 1 / count if operation.target in (aten.mean.dim, aten.mean.default) else 1.0

    def total(t: Tensor) -> Tensor:
        return t.sum(chosen, keepdim=keep)

    def total_transposed(s: Tensor) -> Tensor:
        if not keep:
            for axis in chosen:
                s = s.unsqueeze(axis)
        return s.expand(x.shape)

    scale = torch.tensor(factor, dtype=torch.float64)
    return Linear([Term(x, Pooled(total, total_transposed, scale, 0 in chosen))], kind="pooling")


@register_operation(
    *overloads(
        "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"
    ),
    *overloads("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
)
def interpolate(operation: Operation) -> Family:
    """Linear and cubic interpolation, separable: one matrix an axis, read off the operation
    itself.
    """
    x, sizes, align, *scales = operation.args
    axes = len(sizes)
    scales = [*scales, *[None] * axes][:axes]
    matrices = [
        _axis_matrix(
            operation.target, axis, axes, x.shape[axis - axes], sizes[axis], align, scales[axis]
        )
        for axis in range(axes)
    ]
    return Linear([Term(x, Resampled(matrices))], kind="pooling")


def _axis_matrix(
    function: Any, axis: int, axes: int, inputs: int, outputs: int, align: bool, scale: float | None
) -> Tensor:
    # The other axes are four long and stay so: some kernels are off where an axis has length one.
    units = torch.eye(inputs, dtype=torch.float64)
    size = [4] * axes
    size[axis] = outputs
    others = [1] * axes
    others[axis] = inputs
    shape = [4] * axes
    shape[axis] = inputs
    scales: list[float | None] = [None] * axes
    scales[axis] = scale
    images = units.reshape(1, inputs, *others).expand(1, inputs, *shape).contiguous()
    columns = function(images, size, align, *scales)
    for other in range(axes):
        if other != axis:
            columns = columns.narrow(2 + other, 0, 1)
    return columns.reshape(inputs, outputs).T


@register_operation(*overloads("col2im"))
def fold_blocks(operation: Operation) -> Family:
    """Blocks put in place and summed where they overlap; im2col is the transpose."""
    x, size, *window = operation.args

    def total(t: Tensor) -> Tensor:
        return aten.col2im.default(t, size, *window)

    def total_transposed(s: Tensor) -> Tensor:
        return aten.im2col.default(s, *window)

    return _pooled(x, total, total_transposed, torch.ones((), dtype=torch.float64))


def _pooled(x: Value, total: Any, total_transposed: Any, factor: Tensor) -> Family:
    if any(size == 0 for size in x.shape):
        return Refused("pooling over an empty axis")
    return Linear([Term(x, Pooled(total, total_transposed, factor))], kind="pooling")
