"""A projection to principal components, and relevance back through it (appendix D.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .encoding import DescriptorShares
from .mixture import blocks
from .shared import Floats

EPSILON = 0.01  # of a component's standard deviation


@dataclass(frozen=True, eq=False)
class Projection:
    """y = W (l - mean): directions W `[C, D]`, mean `[D]`, deviations of the components `[C]`."""

    directions: Floats
    mean: Floats
    deviations: Floats

    @classmethod
    def of(cls, pca: Any) -> Projection:
        """From a fitted scikit-learn PCA; its whitening is part of the directions."""
        scale = np.sqrt(pca.explained_variance_)
        directions = pca.components_ / scale[:, None] if pca.whiten else pca.components_
        deviations = np.ones_like(scale) if pca.whiten else scale
        return cls(directions.astype(np.float64), pca.mean_.astype(np.float64), deviations)

    def __call__(self, descriptors: Any) -> Floats:
        """`[N, D]` -> `[N, C]`, float64, a block at a time."""
        found = np.empty((len(descriptors), len(self.directions)))
        turned, offset = self.directions.T.copy(), self.directions @ self.mean
        for rows in blocks(len(descriptors)):
            np.matmul(np.asarray(descriptors[rows], dtype=np.float64), turned, out=found[rows])
            found[rows] -= offset
        return found

    def back(
        self, descriptors: Any, projected: Floats, relevance: Floats, centred: bool
    ) -> DescriptorShares:
        """Relevance of projected components `[N, C]` -> that of components before, `[N, D]`.

        By the epsilon rule on y = sum_d W_cd (l_d - mean_d) where centred, which has no bias. Else
        on y = sum_d W_cd l_d + b_c with b = -W mean (2.31), which sends large opposite amounts to
        bias and components. Epsilon is 0.01 standard deviations of the component.
        """
        found = np.empty((len(descriptors), len(self.mean)))
        bias = stabiliser = 0.0
        offset = self.directions @ self.mean
        for rows in blocks(len(descriptors)):
            epsilons = np.copysign(EPSILON * self.deviations, projected[rows])
            quotients = relevance[rows] / (projected[rows] + epsilons)
            own = np.asarray(descriptors[rows], dtype=np.float64) - self.mean * centred
            np.multiply(quotients @ self.directions, own, out=found[rows])
            stabiliser += float(np.vdot(quotients, epsilons))
            bias -= 0.0 if centred else float(quotients.sum(0) @ offset)
        return DescriptorShares(found, bias=bias, stabiliser=stabiliser)
