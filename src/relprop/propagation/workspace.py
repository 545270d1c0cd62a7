"""Workspace: memory that a walk writes into again and again.

Fresh memory costs more than the arithmetic on it: the system hands it out page by page.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Workspace:
    """Buffers for one step at a time, of at least `size` elements each.

    Where nothing may be overwritten (`reuses` is False: autograd follows the walk) there are no
    buffers, and `out=None` makes torch take fresh memory.
    """

    def __init__(self, size: int = 0, *, reuses: bool = True) -> None:
        self.size, self.reuses = size, reuses
        self._buffers: list[Tensor] = []
        self._taken = 0

    def begin(self) -> None:
        """A new step: what the last one took is free again."""
        self._taken = 0

    def take(self, like: Tensor, *, stacked: tuple[int, int] | None = None) -> Tensor | None:
        """Memory until the next step for a tensor like this one, its axes in the same order.

        `stacked`: an axis, and how many tensors like this one are to stand along it.
        """
        if not self.reuses:
            return None
        shape = list(like.shape)
        if stacked is not None:
            shape[stacked[0]] *= stacked[1]
        count = torch.Size(shape).numel()
        if self._taken == len(self._buffers):
            self._buffers.append(like.new_empty(max(self.size, count)))
        buffer = self._buffers[self._taken]
        if buffer.numel() < count or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffers[self._taken] = like.new_empty(max(self.size, count))
        self._taken += 1
        flat = buffer[:count]
        if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
            samples, channels, *positions = shape
            return flat.view(samples, *positions, channels).movedim(-1, 1)
        return flat.view(shape)

    def spare(self, like: Tensor) -> Tensor | None:
        """Such memory until the next `take`."""
        found = self.take(like)
        self._taken -= found is not None
        return found

    def own(self, tensor: Tensor) -> Tensor | None:
        """A tensor that may be overwritten, if anything may."""
        return tensor if self.reuses else None
