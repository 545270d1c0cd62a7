"""Parts of weights: w+, w-, w squared, ones; what rules ask for."""

from __future__ import annotations

from dataclasses import dataclass

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
            return _times(weight.clamp(max=0), self.negative)
        if self.negative == 0:
            return _times(weight.clamp(min=0), self.positive)
        return weight.clamp(min=0) * self.positive + weight.clamp(max=0) * self.negative


WEIGHT = Part()
POSITIVE = Part(1, 0)
NEGATIVE = Part(0, 1)
MAGNITUDE = Part(1, -1)
SQUARE = Part(square=True)
ONES = Part(ones=True)


@dataclass(frozen=True)
class Stack(Part):
    """Several parts side by side along the outputs, for maps that say along which axis."""

    parts: tuple[Part, ...] = ()


def _times(tensor: Tensor, factor: float) -> Tensor:
    return tensor if factor == 1 else tensor * factor
