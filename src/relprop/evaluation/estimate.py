"""A mean over images and how sure it is: bootstrap over images, seeded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 2000
CONFIDENCE = 0.95

_ELEMENTS = 2**22  # of resampling weights at a time


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over images, `value`, and its 95 % interval from `low` to `high`.

    The interval holds the middle 95 % of the means of 2,000 resamplings of the images; where it
    leaves out zero, images drawn anew would hardly change the sign. `per_image` `[N]` is what was
    averaged.
    """

    value: float
    low: float
    high: float
    per_image: Tensor = field(repr=False)

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def estimate(per_image: Tensor, seed: int = 0) -> Estimate:
    """The mean of a figure `[N]` over images, with its interval."""
    low, high = intervals(per_image[:, None], seed)
    return Estimate(float(per_image.double().mean()), float(low), float(high), per_image)


def intervals(values: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Of the means over images of `[N, F]`, the ends of their 95 % intervals: `[F]` each, NaN for a
    single image, which says nothing about others.

    The same images are drawn for all figures and, with the same seed, in every call.
    """
    columns = values.double().cpu()
    images = len(columns)
    if images == 1:
        unknown = torch.full_like(columns[0], torch.nan)
        return unknown, unknown
    drawn = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, _ELEMENTS // images))
    means = []
    for begin in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - begin)
        chosen = torch.from_numpy(drawn.integers(images, size=(count, images)))
        weights = torch.zeros(count, images, dtype=torch.float64)
        weights.scatter_add_(1, chosen, torch.ones_like(weights))
        means.append(weights @ columns / images)
    ends = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    low, high = torch.cat(means).quantile(ends, dim=0)
    return low, high
