"""Workspace: memory that a walk writes into again and again.

Fresh memory costs more than the arithmetic on it: the system hands it out page by page.
"""

from __future__ import annotations

import torch
from torch import Tensor

WASTE = 4  # times as large as needed


class Workspace:
    """Buffers for one step at a time, kept and grown from step to step and from call to call.

    Where nothing may be overwritten (`reuses` is False: autograd follows the walk) there are no
    buffers, and `out=None` makes torch take fresh memory.
    """

    def __init__(self, *, reuses: bool = True) -> None:
        self.reuses = reuses
        self._free: list[Tensor] = []
        self._taken: list[Tensor] = []

    @property
    def nbytes(self) -> int:
        """The memory that is held."""
        return sum(buffer.nbytes for buffer in (*self._free, *self._taken))

    def begin(self) -> None:
        """A new step: what the last one took is free again."""
        self._free += self._taken
        self._taken.clear()

    def take(self, like: Tensor, *, stacked: tuple[int, int] | None = None) -> Tensor | None:
        """Memory until the next step for a tensor like this one, its axes in the same order.

        `stacked`: an axis, and how many tensors like this one are to stand along it.
        """
        if not self.reuses:
            return None
        shape = list(like.shape)
        if stacked is not None:
            shape[stacked[0]] *= stacked[1]
        order = list(range(like.ndim))
        if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
            order = [0, 2, 3, 1]
        strides, count = [0] * like.ndim, 1
        for axis in reversed(order):
            strides[axis] = count
            count *= shape[axis]
        return self._buffer(count, like).as_strided(shape, strides)

    def _buffer(self, count: int, like: Tensor) -> Tensor:
        """The smallest free buffer that is large enough, unless that wastes it; otherwise the
        largest of those that are too small grows.
        """
        fits, small = None, None  # positions among the free buffers
        for position, buffer in enumerate(self._free):
            size = buffer.numel()
            if buffer.dtype != like.dtype or buffer.device != like.device:
                continue
            if count <= size <= WASTE * count:
                if fits is None or size < self._free[fits].numel():
                    fits = position
            elif size < count and (small is None or size > self._free[small].numel()):
                small = position
        if fits is not None:
            found = self._free.pop(fits)
        else:
            if small is not None:
                del self._free[small], buffer  # given up before more is asked for
            found = like.new_empty(count)
        self._taken.append(found)
        return found

    def own(self, tensor: Tensor) -> Tensor | None:
        """A tensor that may be overwritten, if anything may."""
        return tensor if self.reuses else None
