"""Terms of a Fisher vector by their sign: what alpha-beta and |z| need.

Positive and negative parts are no polynomials, so each component's terms are computed, a block of
descriptors at a time: about K times the work of the epsilon rule, and no more memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .fisher_terms import Terms
from .mixture import blocks
from .regions import Cell
from .shared import Floats


def signed_sums(terms: Terms, cell: Cell) -> tuple[Floats, Floats]:
    """`[V]` each: the sums of the positive and of the negative terms of a cell."""
    positive, negative = np.zeros((2, len(terms.layout)))
    for _, at, own, _ in _each(terms, cell):
        positive[at] += np.maximum(own, 0).sum(0)
        negative[at] += np.minimum(own, 0).sum(0)
    return positive, negative


def signed_shares(
    terms: Terms, cell: Cell, positive: Floats, negative: Floats, parts: bool
) -> Floats:
    """Each positive term times its quotient `[V]` and each negative times its own: `[n]` in all or
    `[n, D]` by component.
    """
    count, width = terms.values[cell].shape
    found = np.zeros((count, width))
    for rows, at, own, per_component in _each(terms, cell):
        shares = own * np.where(own > 0, positive[at], negative[at])
        found[rows] += shares if per_component else shares.sum(1)[:, None] / width
    return found if parts else found.sum(1)


def _each(terms: Terms, cell: Cell) -> Iterator[tuple[slice, slice, Floats, bool]]:
    """Rows, where in the vector, terms `[n, D]` (weights: `[n, K]`), and whether by component."""
    values, posteriors = terms.values[cell], terms.posteriors[cell]
    mixture, layout = terms.mixture, terms.layout
    root, (components, width) = np.sqrt(mixture.weights), mixture.means.shape
    for rows in blocks(len(values)):
        at = 0
        for name in layout.names:
            if name == "weights":
                own = (posteriors[rows] - mixture.weights) / root
                yield rows, slice(at, at := at + components), own, False
                continue
            for k in range(components):
                away = (values[rows] - mixture.means[k]) / mixture.deviations[k]
                own = away if name == "means" else (away**2 - 1) / np.sqrt(2)
                own *= posteriors[rows, k : k + 1] / root[k]
                yield rows, slice(at, at := at + width), own, True
