"""Linear maps with weights whose parts a rule can ask for: w, w+, w-, w squared, ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """An elementwise function of weights: positive w+ + negative w-, or w squared, or ones."""

    positive: float = 1.0
    negative: float = 1.0
    square: bool = False
    ones: bool = False

    def __call__(self, weight: Tensor) -> Tensor:
        if self.ones:
            return torch.ones_like(weight)
        if self.square:
            return weight.square()
        if self.positive == self.negative:
            return weight if self.positive == 1 else weight * self.positive
        if self.positive == 0:
            return (
                weight.clamp(max=0) * self.negative if self.negative != 1 else weight.clamp(max=0)
            )
        if self.negative == 0:
            return (
                weight.clamp(min=0) * self.positive if self.positive != 1 else weight.clamp(min=0)
            )
        return weight.clamp(min=0) * self.positive + weight.clamp(max=0) * self.negative


WEIGHT = Part()
POSITIVE = Part(1, 0)
NEGATIVE = Part(0, 1)
MAGNITUDE = Part(1, -1)
SQUARE = Part(square=True)
ONES = Part(ones=True)


class LinearMap:
    """z = W x for one input of an operation; constant terms are the operation's bias."""

    left = False  # a matrix from the left, which combines along the first axis
    over_first = False  # a sum over the first axis

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        """part(W) x."""
        raise NotImplementedError

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        """part(W) transposed times s, shaped like the input."""
        raise NotImplementedError

    def scaled(self, scale: Tensor) -> LinearMap | None:
        """The map followed by a scale per output channel (axis 1), where it folds into the
        weights.
        """
        return None


@dataclass(frozen=True, eq=False)
class Dense(LinearMap):
    """x @ W, W `[..., inputs, outputs]`; or W @ x with `left`."""

    weight: Tensor
    left: bool = False

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        weight = part(self.weight.to(x))
        return weight @ x if self.left else x @ weight

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        weight = part(self.weight.to(s)).mT
        return weight @ s if self.left else s @ weight

    def scaled(self, scale: Tensor) -> LinearMap | None:
        return None if self.left or self.weight.ndim != 2 else Dense(self.weight * scale)


@dataclass(frozen=True, eq=False)
class Convolution(LinearMap):
    """Convolution in 1-3 dimensions, also transposed; `options` as ATen's convolution takes
    them.
    """

    weight: Tensor
    input_shape: torch.Size
    options: tuple[Any, ...]  # stride, padding, dilation, transposed, output_padding, groups

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return torch.ops.aten.convolution.default(
            x, part(self.weight.to(x.dtype)), None, *self.options
        )

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        shaped = s.new_empty(1).expand(self.input_shape)  # only its shape is read
        found = torch.ops.aten.convolution_backward.default(
            s, shaped, part(self.weight.to(s.dtype)), None, *self.options, [True, False, False]
        )
        return found[0]

    def scaled(self, scale: Tensor) -> LinearMap | None:
        transposed, groups = self.options[3], self.options[5]
        ones = [1] * (self.weight.ndim - 2)
        if not transposed:
            weight = self.weight * scale.reshape(-1, 1, *ones)
        else:
            grouped = self.weight.unflatten(0, (groups, -1)) * scale.reshape(groups, 1, -1, *ones)
            weight = grouped.flatten(0, 1)
        return Convolution(weight, self.input_shape, self.options)


@dataclass(frozen=True, eq=False)
class Scale(LinearMap):
    """Elementwise x * factor, broadcast as usual."""

    factor: Tensor
    input_shape: torch.Size

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return x * part(self.factor.to(x))

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return (s * part(self.factor.to(s))).sum_to_size(self.input_shape)


@dataclass(frozen=True, eq=False)
class Pooled(LinearMap):
    """A sum over windows times a factor per output: average, sum and adaptive pooling, mean,
    sum.
    """

    total: Callable[[Tensor], Tensor]
    total_transposed: Callable[[Tensor], Tensor]
    factor: Tensor
    over_first: bool = False

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.total(x) * part(self.factor.to(x))

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.total_transposed(s * part(self.factor.to(s)))


@dataclass(frozen=True, eq=False)
class Resampled(LinearMap):
    """Interpolation, one matrix `[outputs, inputs]` for each of the last axes."""

    matrices: Sequence[Tensor]

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self._apply(x, part, lambda matrix: matrix)

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self._apply(s, part, lambda matrix: matrix.T)

    def _apply(self, x: Tensor, part: Part, turn: Callable[[Tensor], Tensor]) -> Tensor:
        matrices = [matrix.to(x) for matrix in self.matrices]
        if part.ones:
            return self._product(x, [turn((matrix != 0).to(x)) for matrix in matrices])
        if part.square or (part.positive == part.negative == 1):
            return self._product(x, [turn(part(matrix)) for matrix in matrices])
        signed = [(turn(POSITIVE(matrix)), turn(NEGATIVE(matrix))) for matrix in matrices]
        terms = []
        for signs in product((0, 1), repeat=len(signed)):
            factor = part.negative if sum(signs) % 2 else part.positive
            chosen = [pair[sign] for pair, sign in zip(signed, signs, strict=True)]
            if factor and all(bool(matrix.any()) for matrix in chosen):
                terms.append(factor * self._product(x, chosen))
        return torch.stack(terms).sum(0) if terms else self._product(x, [m * 0 for m in chosen])

    @staticmethod
    def _product(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        for axis, matrix in enumerate(matrices, start=-len(matrices)):
            x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
        return x


@dataclass(frozen=True, eq=False)
class Composed(LinearMap):
    """One map after another of which the first only moves elements (explicit zero padding)."""

    first: LinearMap
    second: LinearMap

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.second.forward(self.first.forward(x), part)

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.first.transpose(self.second.transpose(s, part))

    def scaled(self, scale: Tensor) -> LinearMap | None:
        second = self.second.scaled(scale)
        return None if second is None else Composed(self.first, second)


@dataclass(frozen=True, eq=False)
class FunctionMap(LinearMap):
    """A linear function whose weights are 0 and 1, given with its transpose."""

    function: Callable[[Tensor], Tensor]
    transposed: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.function(x) * _unit(part)

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.transposed(s) * _unit(part)


@dataclass(frozen=True, eq=False)
class Centred(LinearMap):
    """Layer, group and RMS norm with 1/std held constant: scale * (x - mean x), W = diag(scale)
    (I - P).

    `groups` is the shape in which the normalised axes are `axes`; without `axes` nothing is
    centred. Its single weights are asked for by no rule: normalisation takes Epsilon.
    """

    scale: Tensor
    shape: torch.Size
    grouped: tuple[int, ...]
    axes: tuple[int, ...]

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self._total(x) if part.ones else self._centre(x) * self.scale

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self._total(s) if part.ones else self._centre(s * self.scale)

    def _centre(self, x: Tensor) -> Tensor:
        if not self.axes:
            return x
        grouped = x.reshape(self.grouped)
        return (grouped - grouped.mean(self.axes, keepdim=True)).reshape(self.shape)

    def _total(self, x: Tensor) -> Tensor:
        if not self.axes:
            return x
        grouped = x.reshape(self.grouped)
        return grouped.sum(self.axes, keepdim=True).expand(self.grouped).reshape(self.shape)


def _unit(part: Part) -> float:
    return 1.0 if part.ones or part.square else part.positive
