"""What each unit of a sum receives, per unit of its terms: relevance over a stabilised sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shared import Floats

_TINY = 1e-250  # sums below are zero: relevance over them would overflow


@dataclass(frozen=True, eq=False)
class Quotients:
    """A term z of a sum receives z * quotient; relevance in `evenly` has no sum to divide by, and
    goes to all terms alike (2.79). `stabiliser` is what epsilon took, in all.
    """

    quotients: Floats
    evenly: Floats
    stabiliser: float

    @classmethod
    def of(
        cls, relevance: Floats, sums: Floats, epsilon: float, reached: NDArray[np.bool_]
    ) -> Quotients:
        """R / (S + epsilon sign S) where S is not zero, or where epsilon stands in for it.

        `reached` is false where no term is: the sum is tested, not its terms, since terms of both
        signs may cancel.
        """
        zero = np.abs(sums) < _TINY
        nothing = ~reached | (zero & (epsilon == 0))
        epsilons = np.where(sums < 0, -epsilon, epsilon)
        quotients = np.where(nothing, 0, relevance / np.where(nothing, 1, sums + epsilons))
        stabiliser = float((quotients * epsilons).sum())
        return cls(quotients, np.where(nothing, relevance, 0), stabiliser)
