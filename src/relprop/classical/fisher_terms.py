"""The terms that each descriptor adds to a Fisher vector, and relevance per term (eq. 4.1-4.3).

The vector of all descriptors is a sum of N terms in V = K (1 + 2 D) dimensions. Neither that table
nor its shares are ever built: every term is a posterior times a polynomial in the descriptor, so
that sums and shares are matrix products with (1, l, l^2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .mixture import Mixture, blocks
from .regions import Cell, Regions
from .shared import Floats

BLOCKS = ("weights", "means", "deviations")
Parts = Mapping[str, Floats]  # block -> [K] (weights) or [K, D]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the blocks lie in a vector: weights `[K]`, means `[K, D]`, deviations `[K, D]`."""

    names: tuple[str, ...]
    components: int
    dimensions: int

    def __len__(self) -> int:
        return sum(int(np.prod(self._shape(name))) for name in self.names)

    def split(self, vectors: Floats) -> dict[str, Floats]:
        """`[..., V]` -> block -> `[..., K]` or `[..., K, D]`."""
        found, at = {}, 0
        for name in self.names:
            shape = self._shape(name)
            size = int(np.prod(shape))
            found[name] = vectors[..., at : at + size].reshape(*vectors.shape[:-1], *shape)
            at += size
        return found

    def join(self, parts: Parts) -> Floats:
        """Block -> array, as one vector `[V]`."""
        return np.concatenate([parts[name].ravel() for name in self.names])

    def _shape(self, name: str) -> tuple[int, ...]:
        one = (self.components,)
        return one if name == "weights" else (*one, self.dimensions)


@dataclass(frozen=True, eq=False)
class Terms:
    """Descriptors `values` `[N, D]` with their posteriors `[N, K]` under a mixture."""

    mixture: Mixture
    layout: Layout
    values: Floats
    posteriors: Floats
    _known: dict[Regions, Floats] = field(default_factory=dict, repr=False)

    def statistics(self, regions: Regions) -> Floats:
        """`[R, K, 1 + 2 D]`: sums over each region of posteriors times (1, l, l^2); kept, since
        relevance is shared by the sums that predicted.
        """
        if regions not in self._known:
            found = np.stack([self._cell(cell) for cell in regions.cells])
            self._known[regions] = np.tensordot(regions.member, found, 1)
        return self._known[regions]

    def sums(self, statistics: Floats, count: float) -> Floats:
        """`[V]`: sums of the terms over a region with these statistics `[K, 1 + 2 D]`."""
        mixture, width = self.mixture, self.layout.dimensions
        zeroth, first, second = np.split(statistics, [1, 1 + width], axis=1)
        root, means, deviations = np.sqrt(mixture.weights), mixture.from_origin, mixture.deviations
        centred = second - 2 * means * first + means**2 * zeroth
        parts = {
            "weights": (zeroth[:, 0] - count * mixture.weights) / root,
            "means": (first - means * zeroth) / (deviations * root[:, None]),
            "deviations": (centred / deviations**2 - zeroth) / (np.sqrt(2) * root[:, None]),
        }
        return self.layout.join(parts)

    def shares(self, cell: Cell, quotients: Floats, parts: bool) -> Floats:
        """What the terms of a cell's descriptors receive at these quotients `[V]`.

        `[n]`, or `[n, D]` with parts: the sum over k of gamma_k (c0 + c1 l + c2 l^2). The weights
        have no form per component: their share is spread evenly.
        """
        values, posteriors = self.values[cell], self.posteriors[cell]
        return (
            self._by_component(values, posteriors, quotients)
            if parts
            else (self._in_all(values, posteriors, quotients))
        )

    def _cell(self, cell: Cell) -> Floats:
        values, posteriors = self.values[cell], self.posteriors[cell]
        found = np.zeros((posteriors.shape[1], 1 + 2 * values.shape[1]))
        found[:, 0] = posteriors.sum(0)
        for rows in blocks(len(values)):
            found[:, 1:] += posteriors[rows].T @ self.mixture.powers(values[rows])
        return found

    def _in_all(self, values: Floats, posteriors: Floats, quotients: Floats) -> Floats:
        constants, first, second, weights, offset = self._coefficients(quotients)
        both = np.concatenate([first, second], 1).T.copy()
        alone = constants.sum(1) + weights
        found = np.empty(len(values))
        for rows in blocks(len(values)):
            polynomials = self.mixture.powers(values[rows]) @ both + alone
            found[rows] = np.einsum("nk,nk->n", posteriors[rows], polynomials)
        return found + offset

    def _by_component(self, values: Floats, posteriors: Floats, quotients: Floats) -> Floats:
        constants, first, second, weights, offset = self._coefficients(quotients)
        found = np.empty(values.shape)
        for rows in blocks(len(values)):
            own, gamma = values[rows] - self.mixture.origin, posteriors[rows]
            found[rows] = gamma @ constants + (gamma @ first) * own + (gamma @ second) * own**2
            found[rows] += (gamma @ weights + offset)[:, None] / values.shape[1]
        return found

    def _coefficients(self, quotients: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """c0, c1, c2 `[K, D]`; the weights' `[K]` and what they add to every descriptor."""
        mixture, q = self.mixture, self.layout.split(quotients)
        root, means, deviations = np.sqrt(mixture.weights), mixture.from_origin, mixture.deviations
        nothing = np.zeros_like(means)
        per_mean = q.get("means", nothing) / (deviations * root[:, None])
        per_deviation = q.get("deviations", nothing) / (np.sqrt(2) * root[:, None])
        curve = per_deviation / deviations**2
        constants = curve * means**2 - per_deviation - per_mean * means
        weights = q.get("weights", np.zeros_like(root)) / root
        return constants, per_mean - 2 * curve * means, curve, weights, -weights @ mixture.weights
