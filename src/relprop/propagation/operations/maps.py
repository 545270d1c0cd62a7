"""Linear maps with weights whose parts a rule can ask for: w, w+, w-, w squared, ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..parts import ONES, WEIGHT, Part
from .weights import Weight, Weights


class LinearMap:
    """z = W x for one input of an operation; constant terms are the operation's bias."""

    left = False  # a matrix from the left, which combines along the first axis
    over_first = False  # a sum over the first axis
    fresh = False  # every result is a tensor of its own, which may be written into
    stacks: int | None = None  # the axis of the outputs, if parts can be stacked along it
    held: Weight | None = None  # what may be kept from call to call
    is_identity = False

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        """part(W) x."""
        raise NotImplementedError

    def affine(self, x: Tensor, part: Part, bias: Tensor) -> Tensor:
        """part(W) x + bias."""
        z = self.forward(x, part)
        return z.add_(bias) if self.fresh and not torch.is_grad_enabled() else z + bias

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        """part(W) transposed times s, shaped like the input."""
        raise NotImplementedError

    def vanishes(self, part: Part) -> bool:
        """Whether part(W) is known to be zero."""
        return False

    def scaled(self, scale: Tensor) -> LinearMap | None:
        """The map followed by a scale per output channel (axis 1), where it folds into the
        weights.
        """
        return None

    def keeping(self, weights: Weights) -> LinearMap:
        """The map with weights that are kept from call to call, if it has any."""
        return self


@dataclass(frozen=True, eq=False)
class Dense(LinearMap):
    """x @ W, W `[..., inputs, outputs]`; or W @ x with `left`. W is a tensor, or a `Weight`."""

    weight: Weight
    left: bool = False
    fresh = True

    def __post_init__(self) -> None:
        if isinstance(self.weight, Tensor):
            object.__setattr__(self, "weight", Weight(self.weight, outputs=-1))

    @property
    def held(self) -> Weight:  # type: ignore[override]
        return self.weight

    @property
    def stacks(self) -> int | None:  # type: ignore[override]
        return -1 if not self.left and len(self.weight.shape) == 2 else None

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        weight = self.weight.part(part, x.dtype)
        return weight @ x if self.left else x @ weight

    def affine(self, x: Tensor, part: Part, bias: Tensor) -> Tensor:
        if self.stacks is None or x.ndim != 2 or bias.numel() != self.weight.shape[1]:
            return super().affine(x, part, bias)
        return torch.addmm(bias.flatten(), x, self.weight.part(part, x.dtype))

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        weight = self.weight.part(part, s.dtype).mT
        return weight @ s if self.left else s @ weight

    def scaled(self, scale: Tensor) -> LinearMap | None:
        return None if self.stacks is None else replace(self, weight=self.weight.scaled(scale))

    def keeping(self, weights: Weights) -> LinearMap:
        return replace(self, weight=weights.kept(self.weight))


@dataclass(frozen=True, eq=False)
class Convolution(LinearMap):
    """Convolution in 1-3 dimensions, also transposed; `options` as ATen's convolution takes
    them. The kernel is a tensor, or a `Weight`.
    """

    weight: Weight
    input_shape: torch.Size
    options: tuple[Any, ...]  # stride, padding, dilation, transposed, output_padding, groups
    fresh = True

    def __post_init__(self) -> None:
        if isinstance(self.weight, Tensor):
            outputs = 1 if self.transposed else 0
            object.__setattr__(self, "weight", Weight(self.weight, outputs))

    @property
    def held(self) -> Weight:  # type: ignore[override]
        return self.weight

    @property
    def stacks(self) -> int | None:  # type: ignore[override]
        return 1 if self.groups == 1 else None

    @property
    def transposed(self) -> bool:
        return bool(self.options[3])

    @property
    def groups(self) -> int:
        return int(self.options[5])

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        if part == ONES:
            total = x.unflatten(1, (self.groups, -1)).sum(2)
            found = self._convolve(total, self._window(x), self.groups)
            return _repeated(found, self._outputs // self.groups)
        return self._convolve(x, self._kernel(part, x), self.groups)

    def affine(self, x: Tensor, part: Part, bias: Tensor) -> Tensor:
        if part.ones or bias.shape[-1:] != (1,) or bias.numel() != self._outputs:
            return super().affine(x, part, bias)
        return self._convolve(x, self._kernel(part, x), self.groups, bias.flatten())

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        shape = (s.shape[0], *self.input_shape[1:])
        if part == ONES:
            total = s.unflatten(1, (self.groups, -1)).sum(2)
            one_each = (s.shape[0], self.groups, *self.input_shape[2:])
            found = self._convolve_back(total, self._window(s), one_each, self.groups)
            return _repeated(found, self.input_shape[1] // self.groups)
        return self._convolve_back(s, self._kernel(part, s), shape, self.groups)

    def scaled(self, scale: Tensor) -> LinearMap | None:
        ones = [1] * (len(self.weight.shape) - 2)
        factor = scale.reshape(-1, 1, *ones)
        if self.transposed:
            inputs = self.weight.shape[0] // self.groups
            factor = scale.reshape(self.groups, 1, -1, *ones).expand(-1, inputs, -1, *ones)
            factor = factor.flatten(0, 1)
        return replace(self, weight=self.weight.scaled(factor))

    def keeping(self, weights: Weights) -> LinearMap:
        return replace(self, weight=weights.kept(self.weight))

    @property
    def _outputs(self) -> int:
        return self.weight.shape[1] * self.groups if self.transposed else self.weight.shape[0]

    def _kernel(self, part: Part, x: Tensor) -> Tensor:
        return self.weight.part(part, x.dtype, channels_last=_channels_last(x))

    def _window(self, like: Tensor) -> Tensor:
        """Ones for a convolution of one channel a group: which inputs an output sees."""
        return like.new_ones(self.groups, 1, *self.weight.shape[2:])

    def _convolve(
        self, x: Tensor, weight: Tensor, groups: int, bias: Tensor | None = None
    ) -> Tensor:
        return torch.ops.aten.convolution.default(x, weight, bias, *self.options[:5], groups)

    def _convolve_back(
        self, s: Tensor, weight: Tensor, shape: Sequence[int], groups: int
    ) -> Tensor:
        order = torch.channels_last if _channels_last(s) else torch.contiguous_format
        shaped = torch.empty(shape, dtype=s.dtype, device=s.device, memory_format=order)  # not read
        found = torch.ops.aten.convolution_backward.default(
            s, shaped, weight, None, *self.options[:5], groups, [True, False, False]
        )
        return found[0]


@dataclass(frozen=True, eq=False)
class Composed(LinearMap):
    """One map after another of which the first only moves elements (explicit zero padding)."""

    first: LinearMap
    second: LinearMap

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.second.forward(self.first.forward(x), part)

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.first.transpose(self.second.transpose(s, part))

    @property
    def stacks(self) -> int | None:  # type: ignore[override]
        return self.second.stacks

    @property
    def held(self) -> Weight | None:  # type: ignore[override]
        return self.second.held

    def scaled(self, scale: Tensor) -> LinearMap | None:
        second = self.second.scaled(scale)
        return None if second is None else Composed(self.first, second)

    def keeping(self, weights: Weights) -> LinearMap:
        return Composed(self.first, self.second.keeping(weights))


def _repeated(x: Tensor, times: int) -> Tensor:
    """Every channel as often as given, the copies beside each other."""
    if x.shape[1] == 1:
        return x.expand(-1, times, *x.shape[2:])
    return x.repeat_interleave(times, 1)


def _channels_last(x: Tensor) -> bool:
    """Whether the channels of a position lie beside each other, and not only because there is one
    position or one channel.
    """
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return last and not x.is_contiguous()
