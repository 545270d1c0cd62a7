"""Relevance of max pooling to the winners of each window, ties equally (thesis 2.33-2.35), fast.

The input is taken apart into phases, one for each position modulo the stride: what a window reads
at one offset is then a plain slice of one phase. It goes block by block, so that everything but the
input and the result stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

BLOCK = 2**20  # elements of the input at a time
Slices = tuple[Any, ...]


@dataclass(frozen=True)
class PoolAxis:
    """A pooling along one axis, as torch describes it."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def offsets(self) -> list[tuple[int, slice, slice]]:
        """For each position within the window: the phase it reads, which part of the phase, and
        for which outputs.
        """
        found = []
        for position in range(self.kernel):
            start = position * self.dilation - self.padding
            whole, phase = divmod(start, self.stride)
            first = max(0, -(start // self.stride))  # the first window that starts inside
            end = min(self.outputs, (self.inputs - 1 - start) // self.stride + 1)
            if end > first:
                found.append((phase, slice(first + whole, end + whole), slice(first, end)))
        return found

    def steps(self) -> list[tuple[slice, slice]]:
        """For each position within the window: for which outputs, and what they read."""
        found = []
        for phase, part, outputs in self.offsets():
            first = part.start * self.stride + phase
            end = (part.stop - 1) * self.stride + phase + 1
            found.append((outputs, slice(first, end, self.stride)))
        return found


def to_winners(x: Tensor, output: Tensor, received: Tensor, axes: Sequence[PoolAxis]) -> Tensor:
    """What each input receives, shaped like x; `output` is the pooled x, `received` shaped so."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return _channels_last(x, output, received, axes)
    count = len(axes)
    message = torch.empty(x.shape, dtype=received.dtype, device=received.device)
    flat = [t.reshape(-1, *t.shape[-count:]) for t in (x, output, received, message)]
    steps = max(1, BLOCK // max(1, flat[0][0].numel()))
    pool = _Pool(axes, steps, flat[0])
    for begin in range(0, len(flat[0]), steps):
        pool.share(*(t[begin : begin + steps] for t in flat))
    return message


def _channels_last(x: Tensor, output: Tensor, received: Tensor, axes: Sequence[PoolAxis]) -> Tensor:
    """The same where the channels of a position lie beside each other: slices are fast as they
    are.
    """
    message = torch.zeros_like(x)
    windows = [
        (_slices(reads for _, reads in offsets), _slices(outputs for outputs, _ in offsets))
        for offsets in product(*(axis.steps() for axis in axes))
    ]
    for one, best, given, result in zip(x, output, received, message, strict=True):
        wins, each = torch.empty_like(best), torch.zeros_like(best)
        for reads, outputs in windows:
            each[outputs].add_(torch.eq(one[reads], best[outputs], out=wins[outputs]))
        torch.div(given, each, out=each)
        for reads, outputs in windows:
            won = torch.eq(one[reads], best[outputs], out=wins[outputs])
            result[reads].add_(won.mul_(each[outputs]))
    return message


class _Pool:
    """The buffers of a block, and what is done with each block."""

    def __init__(self, axes: Sequence[PoolAxis], steps: int, like: Tensor) -> None:
        strides = [axis.stride for axis in axes]
        starts = product(*(range(stride) for stride in strides))
        self.phases = [
            _slices(slice(first, None, step) for first, step in zip(start, strides, strict=True))
            for start in starts
        ]
        self.windows: list[tuple[int, Slices, Slices]] = []
        for offsets in product(*(axis.offsets() for axis in axes)):
            number = 0
            for (phase, _, _), stride in zip(offsets, strides, strict=True):
                number = number * stride + phase
            reads = _slices(part for _, part, _ in offsets)
            self.windows.append((number, reads, _slices(part for _, _, part in offsets)))
        block = like[:steps]
        self.taken = [like.new_empty(block[phase].shape) for phase in self.phases]
        self.shared = [torch.empty_like(part) for part in self.taken]
        outputs = (len(block), *(axis.outputs for axis in axes))
        self.wins, self.each = like.new_empty(outputs), like.new_empty(outputs)

    def share(self, x: Tensor, output: Tensor, received: Tensor, message: Tensor) -> None:
        """Count the winners of each window, then give each its part."""
        rows = len(x)
        wins, each = self.wins[:rows], self.each[:rows].zero_()
        for taken, shared, phase in zip(self.taken, self.shared, self.phases, strict=True):
            taken[:rows].copy_(x[phase])
            shared[:rows].zero_()
        for number, reads, outputs in self.windows:
            won = torch.eq(self.taken[number][:rows][reads], output[outputs], out=wins[outputs])
            each[outputs].add_(won)
        torch.div(received, each, out=each)
        for number, reads, outputs in self.windows:
            won = torch.eq(self.taken[number][:rows][reads], output[outputs], out=wins[outputs])
            self.shared[number][:rows][reads].add_(won.mul_(each[outputs]))
        for shared, phase in zip(self.shared, self.phases, strict=True):
            message[phase].copy_(shared[:rows])


def _slices(parts: Iterable[slice]) -> Slices:
    """An index of the last axes."""
    return (..., *parts)
