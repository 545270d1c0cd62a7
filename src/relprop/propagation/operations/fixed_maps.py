"""Linear maps whose weights follow from the operation: scales, pooling, resampling, centring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from ..parts import NEGATIVE, POSITIVE, WEIGHT, Part
from .maps import LinearMap


@dataclass(frozen=True, eq=False)
class Scale(LinearMap):
    """Elementwise x * factor, broadcast as usual."""

    factor: Tensor
    input_shape: torch.Size

    @property
    def is_identity(self) -> bool:  # type: ignore[override]
        return self.number == 1 and self.factor.ndim == 0

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        factor = self._factor(part)
        return (
            x if factor == 1 else x * (part(_beside(self.factor, x)) if factor is None else factor)
        )

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.forward(s, part).sum_to_size(self.input_shape)

    def vanishes(self, part: Part) -> bool:
        return self._factor(part) == 0

    def _factor(self, part: Part) -> float | None:
        """The part of a factor that was written as a number."""
        if part.ones and self.factor.ndim == 0:
            return 1.0
        if self.number is None or part.square or part.ones:
            return None
        return self.number * (part.positive if self.number > 0 else part.negative)

    @cached_property
    def number(self) -> float | None:
        """The factor where it was written as a number; tensors of the model are not looked at."""
        known = self.factor.ndim == 0 and self.factor.dtype == torch.float64
        return float(self.factor) if known else None


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
        return self.total(x) * part(_beside(self.factor, x))

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.total_transposed(s * part(_beside(self.factor, s)))


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


def _beside(factor: Tensor, x: Tensor) -> Tensor:
    """A factor in the dtype of x and on its device; a single number need not be sent there."""
    return factor.to(x.dtype) if factor.ndim == 0 else factor.to(x)


def _unit(part: Part) -> float:
    return 1.0 if part.ones or part.square else part.positive
