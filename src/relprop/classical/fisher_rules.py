"""How the relevance of a Fisher vector is shared among descriptors (thesis 2.78, 4.3, 4.5).

Every rule takes terms, regions and relevance `[R, V]`, and returns relevance of descriptors `[N]`
or of their components `[N, D]`. z_ld is what descriptor l adds to the vector's dimension d. A
component that no descriptor reached is shared evenly (2.79); a region without descriptors loses
what it received.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .encoding import DescriptorShares
from .fisher_signs import signed_shares, signed_sums
from .fisher_terms import Terms
from .quotients import Quotients
from .regions import Regions
from .shared import Floats

EPSILON = 1.45e-3  # per descriptor: the thesis's 100 at its 69,000 descriptors (4.5.1)


class SumRule(Protocol):
    """A way to share the relevance of sums over descriptors."""

    def share(
        self, terms: Terms, regions: Regions, relevance: Floats, *, parts: bool
    ) -> DescriptorShares: ...


@dataclass(frozen=True)
class SumEpsilon:
    """R_l = sum_d R_d z_ld / (S_d + epsilon sign S_d), with S_d = sum_l z_ld (2.78).

    epsilon acts on the sum over descriptors, not on their mean. None is 1.45e-3 |L|; the thesis
    has 0, 1 and 100. Raises InvalidInput where it is negative.
    """

    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None and not self.epsilon >= 0:
            raise InvalidInput(f"epsilon is {self.epsilon}; expected 0 or more, or None")

    def share(
        self, terms: Terms, regions: Regions, relevance: Floats, *, parts: bool
    ) -> DescriptorShares:
        """Relevance of descriptors; the stabiliser is what epsilon took."""
        quotients, evenly, stabiliser = np.zeros_like(relevance), np.zeros_like(relevance), 0.0
        for r, statistics in enumerate(terms.statistics(regions)):
            count = regions.counts[r]
            if not count:
                continue
            epsilon = EPSILON * count if self.epsilon is None else self.epsilon
            reached = _reached(terms, statistics[:, 0])
            found = Quotients.of(relevance[r], terms.sums(statistics, count), epsilon, reached)
            quotients[r], evenly[r] = found.quotients, found.evenly / count
            stabiliser += found.stabiliser
        spread = _spread(terms, regions, evenly, parts)
        for cell, member in zip(regions.cells, regions.member.T, strict=True):
            spread[cell] += terms.shares(cell, member @ quotients, parts)
        return DescriptorShares(spread, stabiliser=stabiliser, lost=_lost(regions, relevance))


@dataclass(frozen=True)
class SumAlphaBeta:
    """R_l = sum_d R_d (alpha z+_ld / S+_d + beta z-_ld / S-_d), with alpha + beta = 1.

    The share of a side without terms is lost. Raises InvalidInput for other alpha and beta.
    """

    alpha: float = 2.0
    beta: float = -1.0

    def __post_init__(self) -> None:
        if not np.isclose(self.alpha + self.beta, 1):
            raise InvalidInput(f"alpha + beta is {self.alpha + self.beta}; expected 1")

    def share(
        self, terms: Terms, regions: Regions, relevance: Floats, *, parts: bool
    ) -> DescriptorShares:
        """Relevance of descriptors; lost is the share of sides without terms."""
        positive, negative = _signed(terms, regions)
        without = ((positive == 0) & (negative == 0)) * relevance
        received = relevance - without
        lost = self.alpha * (received * (positive == 0)).sum()
        lost += self.beta * (received * (negative == 0)).sum()
        per_positive = self.alpha * _over(received, positive)
        per_negative = self.beta * _over(received, negative)
        return _by_sign(terms, regions, without, per_positive, per_negative, parts, lost)


@dataclass(frozen=True)
class SumMagnitude:
    """R_l = sum_d R_d |z_ld| / sum_l' |z_l'd|: terms of either sign pull the same way."""

    def share(
        self, terms: Terms, regions: Regions, relevance: Floats, *, parts: bool
    ) -> DescriptorShares:
        """Relevance of descriptors; nothing is absorbed."""
        positive, negative = _signed(terms, regions)
        magnitude = positive - negative
        without = (magnitude == 0) * relevance
        quotients = _over(relevance - without, magnitude)
        return _by_sign(terms, regions, without, quotients, -quotients, parts, 0.0)


def _signed(terms: Terms, regions: Regions) -> tuple[Floats, Floats]:
    """`[R, V]` each: S+ and S-."""
    found = [signed_sums(terms, cell) for cell in regions.cells]
    positive, negative = (np.stack(side) for side in zip(*found, strict=True))
    return regions.member @ positive, regions.member @ negative


def _over(relevance: Floats, sums: Floats) -> Floats:
    return np.where(sums == 0, 0, relevance / np.where(sums == 0, 1, sums))


def _by_sign(
    terms: Terms,
    regions: Regions,
    without: Floats,
    positive: Floats,
    negative: Floats,
    parts: bool,
    lost: float,
) -> DescriptorShares:
    """Quotients `[R, V]` per positive and per negative term -> relevance of descriptors."""
    counts = regions.counts[:, None]
    spread = _spread(terms, regions, without / np.maximum(counts, 1), parts)
    for cell, member in zip(regions.cells, regions.member.T, strict=True):
        spread[cell] += signed_shares(terms, cell, member @ positive, member @ negative, parts)
    empty = _lost(regions, relevance=without)
    return DescriptorShares(spread, lost=float(lost) + empty)


def _reached(terms: Terms, mass: Floats) -> NDArray[np.bool_]:
    """`[V]`: whether any descriptor has a term in this dimension; weights always have."""
    width = terms.layout.dimensions
    each = np.repeat(mass[:, None], width, axis=1)
    whole = np.ones_like(mass)
    return terms.layout.join({"weights": whole, "means": each, "deviations": each}) > 0


def _spread(terms: Terms, regions: Regions, each: Floats, parts: bool) -> Floats:
    """`[N]` or `[N, D]`: what every descriptor of a region receives alike, `each` `[R, V]`."""
    width = terms.layout.dimensions
    found = np.zeros((len(terms.values), width) if parts else len(terms.values))
    if not each.any():
        return found
    for cell, member in zip(regions.cells, regions.member.T, strict=True):
        by_block = terms.layout.split(member @ each)
        alike = np.zeros(width)
        for name, own in by_block.items():
            alike += own.sum() / width if name == "weights" else own.sum(0)
        found[cell] += alike if parts else alike.sum()
    return found


def _lost(regions: Regions, relevance: Floats) -> float:
    """What regions without a descriptor received."""
    return float(relevance[regions.counts == 0].sum())
