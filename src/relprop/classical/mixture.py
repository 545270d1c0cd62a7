"""A Gaussian mixture with diagonal covariances, as Fisher vectors read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InvalidInput
from .shared import Floats


@dataclass(frozen=True, eq=False)
class Mixture:
    """K components in D dimensions: weights lambda `[K]`, means mu `[K, D]`, deviations sigma
    `[K, D]`.
    """

    weights: Floats
    means: Floats
    deviations: Floats

    @classmethod
    def of(cls, fitted: Any) -> Mixture:
        """From a fitted scikit-learn GaussianMixture; raises InvalidInput if it is not diagonal."""
        if getattr(fitted, "covariance_type", None) != "diag":
            raise InvalidInput(
                "Fisher vectors need a fitted GaussianMixture(covariance_type='diag'); this is "
                f"{type(fitted).__name__} ({getattr(fitted, 'covariance_type', 'no covariances')})"
            )
        return cls(
            fitted.weights_.astype(np.float64),
            fitted.means_.astype(np.float64),
            np.sqrt(fitted.covariances_.astype(np.float64)),
        )

    def posteriors(self, values: Floats) -> Floats:
        """`[N, K]`: how much of each descriptor `[N, D]` each component explains; rows sum to 1."""
        scores = np.empty((len(values), len(self.weights)))
        for rows in blocks(len(values)):
            own = scores[rows]
            np.matmul(self.powers(values[rows]), self._quadratic, out=own)
            own += self._constant
            own -= own.max(1, keepdims=True)
            np.exp(own, out=own)
            own /= own.sum(1, keepdims=True)
        return scores

    def sample(self, count: int, random_state: Any = None) -> Floats:
        """Descriptors `[count, D]` drawn from the mixture (thesis C.2)."""
        random = np.random.default_rng(random_state)
        which = random.choice(len(self.weights), size=count, p=self.weights / self.weights.sum())
        drawn = random.standard_normal((count, self.means.shape[1]))
        found: Floats = self.means[which] + self.deviations[which] * drawn
        return found

    @cached_property
    def origin(self) -> Floats:
        """`[D]`: where (l, l^2) are counted from, the mean of the narrowest component.

        Flat patches are all the same descriptor, and their component has next to no width: counted
        from elsewhere, (l - mu)^2 / sigma^2 out of l^2, l and 1 would lose its digits.
        """
        found: Floats = self.means[self.deviations.min(1).argmin()]
        return found

    @cached_property
    def from_origin(self) -> Floats:
        """`[K, D]`: the means as counted from there."""
        return self.means - self.origin

    def powers(self, values: Floats) -> Floats:
        """(l, l^2) side by side, `[n, 2 D]`, l counted from the origin."""
        found = np.empty((len(values), 2 * values.shape[1]))
        first, second = np.split(found, 2, axis=1)
        np.subtract(values, self.origin, out=first)
        np.multiply(first, first, out=second)
        return found

    @cached_property
    def _quadratic(self) -> Floats:
        """`[2 D, K]`: log densities of (l, l^2), but for a constant."""
        inverse = 1 / self.deviations**2
        return np.ascontiguousarray(
            np.concatenate([self.from_origin * inverse, -0.5 * inverse], 1).T
        )

    @cached_property
    def _constant(self) -> Floats:
        distances = 0.5 * (self.from_origin**2 / self.deviations**2).sum(1)
        found: Floats = np.log(self.weights) - distances - np.log(self.deviations).sum(1)
        return found


def blocks(count: int, size: int = 4096) -> list[slice]:
    """Rows in blocks that fit into a processor's cache."""
    return [slice(start, start + size) for start in range(0, count, size)]
