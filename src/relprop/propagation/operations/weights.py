"""Weights and their parts (w+, w-, w squared, ...), kept from call to call while nothing changes
them.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..doubts import holds
from ..parts import WEIGHT, Part, Stack

LOPSIDED = 0.01  # of the other side: below it z- = z - z+ would be mostly rounding


class Weight:
    """A constant tensor of the model with `scale` folded into it, and the parts made of it.

    `outputs` is the axis of the outputs, along which parts are stacked. `keep` holds parts until
    `refresh` finds that the tensor has changed, in place or through `.data`; kernels with
    channels last, if `last` says that convolutions will want them so.
    """

    def __init__(self, tensor: Tensor, outputs: int, scale: Tensor | None = None) -> None:
        self.tensor, self.outputs, self.scale = tensor, outputs, scale
        self.keep = self.last = False
        self._made: dict[tuple[Part | None, torch.dtype], Tensor] = {}
        self._lopsided: bool | None = None
        self._stamp: tuple[Any, Tensor, Tensor] | None = None
        self._factors: Tensor | None = None
        self._lock = threading.Lock()

    @property
    def shape(self) -> torch.Size:
        return self.tensor.shape

    def scaled(self, scale: Tensor) -> Weight:
        """The same tensor with another factor, broadcastable to it."""
        scale = scale if self.scale is None else self.scale * scale
        return Weight(self.tensor, self.outputs, scale)

    def part(self, part: Part, dtype: torch.dtype, *, channels_last: bool = False) -> Tensor:
        """A part of the weight, or several stacked along the outputs, in one of two orders."""
        if part == WEIGHT and self.scale is None:
            return self.live(dtype, channels_last=channels_last)
        if not self.keep:
            return self._make(part, dtype)
        with self._lock:
            made = self._made.get((part, dtype))
            if made is None:
                made = self._kept(part, self._make(part, dtype))
                if isinstance(part, Stack):
                    self._point_into(made, part)
        if made.ndim != 4 or channels_last == self.last:
            return made
        return made.contiguous(memory_format=_order(channels_last))

    def live(self, dtype: torch.dtype, *, channels_last: bool = False) -> Tensor:
        """The tensor itself, not scaled; a copy is kept where it lies in memory otherwise."""
        tensor = self.tensor if torch.is_grad_enabled() else self.tensor.detach()
        tensor = tensor.to(dtype)
        if not (channels_last and self.keep and self.last):
            return tensor
        if tensor.is_contiguous(memory_format=torch.channels_last):
            return tensor
        with self._lock:
            made = self._made.get((None, dtype))
            return self._kept(None, tensor) if made is None else made

    def _kept(self, part: Part | None, made: Tensor) -> Tensor:
        """Keep what was made of the tensor, and what tells when it changes."""
        if self._stamp is None:
            self._stamp = self._read()
        if made.ndim == 4:
            made = made.contiguous(memory_format=_order(self.last))
        self._made[part, made.dtype] = made
        return made

    def _point_into(self, stack: Tensor, parts: Stack) -> None:
        """Parts that stand in a stack too are kept there alone."""
        size = stack.shape[self.outputs] // len(parts.parts)
        for position, part in enumerate(parts.parts):
            if (part, stack.dtype) in self._made:
                piece = stack.narrow(self.outputs, position * size, size)
                self._made[part, stack.dtype] = piece

    @property
    def nbytes(self) -> int:
        """The memory of the parts that are kept."""
        storages = [made.untyped_storage() for made in list(self._made.values())]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    def refresh(self) -> None:
        """Forget the parts if the tensor is no longer what they were made of."""
        with self._lock:
            if self._stamp is None:
                return
            if self._seen() != self._stamp[0]:
                self._forget()
                return
            pairs = zip(self._read()[1:], self._stamp[1:], strict=True)
            if not all(holds(one.eq(two).all()) for one, two in pairs):
                self._forget()

    @property
    def has_moved(self) -> bool:
        """Whether the tensor has changed in a way that shows without reading it."""
        return self._stamp is not None and self._seen() != self._stamp[0]

    def _seen(self) -> Any:
        """What tells, without reading a tensor, that it has changed."""
        tensor = self.tensor
        version = 0 if tensor.is_inference() else tensor._version
        return version, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

    def forget(self) -> None:
        """Make all parts anew."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._made.clear()
        self._stamp = self._lopsided = self._factors = None

    @property
    def lopsided(self) -> bool:
        """Whether some output has hardly any weights of one sign.

        There the small side is inaccurate as a difference (thesis 2.26: z- = z - z+).
        """
        if self._lopsided is None:
            whole = self._make(WEIGHT, torch.promote_types(self.tensor.dtype, torch.float32))
            axes = [axis for axis in range(whole.ndim) if axis != self.outputs % whole.ndim]
            total, size = whole.sum(axes), whole.abs().sum(axes)
            small, large = (size - total.abs()) / 2, (size + total.abs()) / 2
            found = bool((small < LOPSIDED * large).any())
            if not self.keep:
                return found
            with self._lock:
                self._stamp = self._stamp or self._read()
                self._lopsided = found
        return self._lopsided

    def _make(self, part: Part, dtype: torch.dtype) -> Tensor:
        whole = self.tensor.to(dtype)
        if self.scale is not None:
            whole = whole * self.scale.to(whole)
        if not isinstance(part, Stack):
            return part(whole)
        first = whole.movedim(self.outputs, 0)  # where a dense layer keeps its outputs in memory
        return torch.cat([each(first) for each in part.parts]).movedim(0, self.outputs)

    def _read(self) -> tuple[Any, Tensor, Tensor]:
        """What tells whether the tensor has changed.

        What shows without reading it and, since `.data` hides changes from that, for each row a
        weighted sum, in which the place of an element counts, and the sum of its bits, in which the
        smallest does.
        """
        tensor = self.tensor.detach()
        in_memory = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
        rows = tensor.permute(in_memory).reshape(tensor.shape[in_memory[0]], -1)
        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[rows.itemsize]
        bits = rows.view(whole).sum(1, dtype=whole)
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if self._factors is None:
            drawn = torch.Generator().manual_seed(rows.shape[1])
            self._factors = (1 + torch.rand(rows.shape[1], generator=drawn)).to(rows)
        return self._seen(), rows @ self._factors, bits


class Weights:
    """The weights of one explainer: what several plans use is kept once."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[object, ...], Weight] = WeakValueDictionary()

    @property
    def nbytes(self) -> int:
        """The memory of the parts."""
        return sum(weight.nbytes for weight in list(self._known.values()))

    def refresh(self) -> None:
        """Forget the parts of tensors that have changed."""
        for weight in list(self._known.values()):
            weight.refresh()

    def forget(self) -> None:
        """Make all parts anew."""
        for weight in list(self._known.values()):
            weight.forget()

    def kept(self, weight: Weight) -> Weight:
        """The weight that stands for this one from call to call."""
        tensor, scale = weight.tensor, weight.scale
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, weight.outputs)
        present = self._known.get(key)
        lives_there = present is not None and present.tensor.data_ptr() == tensor.data_ptr()
        if present is not None and lives_there and _same(present.scale, scale):
            return present
        weight.keep = True
        self._known[key] = weight
        return weight


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _order(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format
