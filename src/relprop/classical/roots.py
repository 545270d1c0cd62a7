"""Root points: where a function is zero between a sample and points on its other side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import NoRootFound
from .pairwise import squared_distances
from .shared import Floats

Indices = NDArray[np.intp]
Along = Callable[[Indices, Indices, Floats], Floats]

TOLERANCE = 1e-5  # |f| at a root (thesis 2.4.2)
CANDIDATES = 50  # points of the other side for each sample
HALVINGS = 60  # beyond which a step is smaller than the rounding of a position
PAIRS = 2**10  # pairs of samples and candidates halved at a time, in tables the cache can hold


def find_roots(
    along: Along,
    X: Floats,
    candidates: Floats,
    values: Floats,
    others: Floats,
) -> Floats:
    """The root nearest to each sample, `[n, d]` (thesis 2.4.2).

    Roots are sought by bisection on the segments to the nearest 50 candidates where f has the
    other sign, until |f| <= 1e-5; of these roots the nearest in Euclidean distance is taken. A
    segment is given up as soon as its root must lie farther away than another one. Where a step
    of f is too steep for 1e-5, the position is exact to rounding. A sample with |f| <= 1e-5 is its
    own root.

    Args:
        along: f on segments: indices of samples `[p]`, of candidates `[p]` and positions `[p]`
            from 0 (the sample) to 1 (the candidate) -> `[p]`.
        X: samples `[n, d]`; candidates: `[c, d]`.
        values, others: f at the samples `[n]` and at the candidates `[c]`.

    Raises NoRootFound where no candidate lies on the other side.
    """
    roots = X.copy()
    wanted = np.flatnonzero(np.abs(values) > TOLERANCE)
    _check_sides(wanted, values, others)
    step = max(1, PAIRS // min(CANDIDATES, max(1, len(candidates))))
    for begin in range(0, len(wanted), step):
        samples = wanted[begin : begin + step]
        chosen, positions = _nearest(along, X, candidates, values, others, samples)
        roots[samples] += positions[:, None] * (candidates[chosen] - X[samples])
    return roots


def _check_sides(wanted: Indices, values: Floats, others: Floats) -> None:
    above, below = (others > 0).any(), (others < 0).any()
    stuck = wanted[~np.where(values[wanted] > 0, below, above)]
    if len(stuck):
        first = stuck[0]
        side = "below" if values[first] > 0 else "above"
        raise NoRootFound(
            f"{len(stuck)} of {len(values)} samples have no root: sample {first} has f = "
            f"{values[first]:g}, and none of the {len(others)} candidates lies {side} 0; pass "
            f"candidates= with samples for which f is {side} 0, or root= with points where f is 0"
        )


def _nearest(
    along: Along, X: Floats, candidates: Floats, values: Floats, others: Floats, samples: Indices
) -> tuple[Indices, Floats]:
    """The candidate on whose segment the nearest root lies, `[s]`, and its position, `[s]`."""
    lengths = np.sqrt(squared_distances(X[samples], candidates))
    open_ = values[samples, None] * np.sign(others) < 0
    lengths = np.where(open_, lengths, np.inf)
    kept = min(CANDIDATES, len(candidates))
    near = np.argpartition(lengths, kept - 1, axis=1)[:, :kept]
    lengths = np.take_along_axis(lengths, near, axis=1)
    open_ = np.take_along_axis(open_, near, axis=1)
    low, high = np.zeros(lengths.shape), np.ones(lengths.shape)
    for _ in range(HALVINGS):
        # a root lies within [low, high]: too far if another one is nearer even at its far end
        reach = np.where(open_, high * lengths, np.inf).min(1, keepdims=True)
        open_ &= np.multiply(low, lengths, out=np.zeros(low.shape), where=open_) <= reach
        row, column = np.nonzero(open_ & (low < high))
        if not len(row):
            break
        middle = (low[row, column] + high[row, column]) / 2
        found = along(samples[row], near[row, column], middle)
        before = found * values[samples[row]] > 0
        settled = np.abs(found) <= TOLERANCE
        low[row, column] = np.where(before | settled, middle, low[row, column])
        high[row, column] = np.where(before & ~settled, high[row, column], middle)
    best = np.argmin(np.where(open_, high * lengths, np.inf), axis=1)[:, None]
    return (
        np.take_along_axis(near, best, axis=1)[:, 0],
        np.take_along_axis(high, best, axis=1)[:, 0],
    )
