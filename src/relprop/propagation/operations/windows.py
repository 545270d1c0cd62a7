"""Windows of pooling along each axis as index tables, and gathering and scattering by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WindowAxis:
    """Along one axis: `index[o, k]` is the input that output o sees at offset k, where
    `valid[o, k]`.
    """

    index: Tensor
    valid: Tensor
    inputs: int

    @cached_property
    def tiles(self) -> bool:
        """Whether the windows cut the axis into consecutive pieces."""
        flat = self.index.flatten()
        return bool(self.valid.all()) and torch.equal(flat, torch.arange(self.inputs))


def regular_axis(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> WindowAxis:
    """Windows of one size at regular steps; what falls into the padding is not valid."""
    starts = torch.arange(outputs)[:, None] * stride - padding
    index = starts + torch.arange(kernel) * dilation
    return _clamped(index, (index >= 0) & (index < inputs), inputs)


def adaptive_axis(inputs: int, outputs: int) -> WindowAxis:
    """Adaptive pooling: output o sees from floor(o n / m) up to ceil((o + 1) n / m)."""
    steps = torch.arange(outputs)
    starts = steps * inputs // outputs
    ends = -((steps + 1) * -inputs // outputs)
    index = starts[:, None] + torch.arange(int((ends - starts).max()))
    return _clamped(index, index < ends[:, None], inputs)


def _clamped(index: Tensor, valid: Tensor, inputs: int) -> WindowAxis:
    return WindowAxis(index.clamp(0, inputs - 1), valid, inputs)


def gather(x: Tensor, axes: Sequence[WindowAxis]) -> Tensor:
    """`[..., o1, k1, o2, k2, ...]`: the windows over the last axes of x."""
    for axis, windows in enumerate(axes, start=-len(axes)):
        if not windows.tiles:
            x = x.index_select(axis, windows.index.flatten().to(x.device))
    before = x.ndim - len(axes)
    for position in reversed(range(len(axes))):
        x = x.unflatten(before + position, tuple(axes[position].index.shape))
    return x


def scatter(windows: Tensor, axes: Sequence[WindowAxis]) -> Tensor:
    """The transpose of `gather`: elements that several windows share are summed."""
    for position, axis_windows in enumerate(reversed(axes)):
        axis = windows.ndim - 2 - position
        windows = windows.flatten(axis, axis + 1)
        if not axis_windows.tiles:
            shape = list(windows.shape)
            shape[axis] = axis_windows.inputs
            index = axis_windows.index.flatten().to(windows.device)
            windows = windows.new_zeros(shape).index_add(axis, index, windows)
    return windows


def valid(axes: Sequence[WindowAxis], device: torch.device) -> Tensor:
    """`[o1, k1, o2, k2, ...]`: where a window sees a real input."""
    mask = axes[0].valid
    for windows in axes[1:]:
        mask = mask[..., None, None] & windows.valid
    return mask.to(device)


def spread(outputs: Tensor, axes: Sequence[WindowAxis]) -> Tensor:
    """Outputs shaped to broadcast against their windows: `[..., o1, 1, o2, 1]`."""
    last = outputs.ndim
    for position in range(len(axes)):
        outputs = outputs.unsqueeze(last - position)
    return outputs
