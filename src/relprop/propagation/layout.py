"""Which elements of a value belong to which sample, so that ledger figures are per sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FEW = 16  # samples whose sums are taken one by one


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the samples stand in a value.

    `leading`: in row-major order the first 1/N of the elements are sample 0, and so on. Otherwise
    `ids` holds the sample of every element, shaped like the value.
    """

    samples: int
    ids: Tensor | None = None

    @property
    def leading(self) -> bool:
        return self.ids is None

    def sum(self, tensor: Tensor) -> Tensor:
        """`[N]`: the sum over each sample's elements."""
        if self.ids is not None:
            zeros = torch.zeros(self.samples, dtype=tensor.dtype, device=tensor.device)
            return zeros.index_add(0, self.ids.flatten(), tensor.flatten())
        if tensor.ndim == 0:
            return tensor.reshape(1)
        if tensor.shape[0] == self.samples:
            return tensor.sum(tuple(range(1, tensor.ndim))) if tensor.ndim > 1 else tensor
        return tensor.reshape(self.samples, -1).sum(1)

    def inner(self, one: Tensor, other: Tensor) -> Tensor:
        """`[N]`: the sum of a product over each sample's elements.

        On a processor nothing is written for it where elements of both lie in the same order.
        """
        dense = one.stride() == other.stride() and _is_dense(one)
        rows = one.shape[0] if one.ndim > 1 else 0
        if not (
            dense and self.leading and rows == self.samples <= FEW and one.device.type == "cpu"
        ):
            return self.sum(one * other)
        flat = [_in_memory(tensor) for tensor in (one, other)]
        return torch.stack([torch.dot(*pair) for pair in zip(*flat, strict=True)])

    def rms(self, tensor: Tensor) -> Tensor:
        """`[N]`: the root mean square over each sample's elements."""
        count = tensor.numel() / self.samples
        if self.ids is None and tensor.ndim > 1 and tensor.shape[0] == self.samples:
            return torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim))) / count**0.5
        return (self.sum(tensor.square()) / count).sqrt()

    def spread(self, figures: Tensor, shape: torch.Size) -> Tensor:
        """Figures `[N]` broadcast to a value of this shape."""
        if self.ids is not None:
            return figures[self.ids]
        if len(shape) and shape[0] == self.samples:
            return figures.reshape(-1, *[1] * (len(shape) - 1))
        return figures.repeat_interleave(shape.numel() // self.samples).reshape(shape)

    def sample_ids(self, shape: torch.Size, device: torch.device) -> Tensor:
        """The sample of every element of a value of this shape."""
        if self.ids is not None:
            return self.ids
        return self.spread(torch.arange(self.samples, device=device), shape).expand(shape)

    @classmethod
    def of_ids(cls, samples: int, ids: Tensor) -> Layout:
        """The layout with these ids, recognised as leading where it is."""
        flat = ids.reshape(-1)
        leading = cls(samples)
        if flat.numel() % samples == 0:
            expected = torch.arange(samples, device=ids.device).repeat_interleave(
                flat.numel() // samples
            )
            if torch.equal(flat, expected):
                return leading
        return cls(samples, ids)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements of a sample lie together, in one of the two usual orders."""
    if tensor.is_contiguous():
        return True
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def _in_memory(tensor: Tensor) -> Tensor:
    """A row for each sample, its elements as they lie in memory."""
    last = tensor if tensor.is_contiguous() else tensor.permute(0, 2, 3, 1)
    return last.view(tensor.shape[0], -1)
