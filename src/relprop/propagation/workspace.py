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
        flat = self._buffer(torch.Size(shape).numel(), like)
        if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
            samples, channels, *positions = shape
            return flat.view(samples, *positions, channels).movedim(-1, 1)
        return flat.view(shape)

    def _buffer(self, count: int, like: Tensor) -> Tensor:
        """The smallest free buffer that is large enough, unless that wastes it; otherwise the
        largest of those that are too small grows.
        """
        alike = [b for b in self._free if (b.dtype, b.device) == (like.dtype, like.device)]
        fitting = [b for b in alike if count <= b.numel() <= WASTE * count]
        small = [b for b in alike if b.numel() < count]
        found = min(fitting, key=Tensor.numel, default=None)
        gone = max(small, key=Tensor.numel, default=None) if found is None else found
        self._free = [b for b in self._free if b is not gone]
        if found is None:
            del alike, small, gone  # the memory that is given up, before more is asked for
            found = like.new_empty(count)
        self._taken.append(found)
        return found[:count]

    def own(self, tensor: Tensor) -> Tensor | None:
        """A tensor that may be overwritten, if anything may."""
        return tensor if self.reuses else None
