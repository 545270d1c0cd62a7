"""Pooling of mapped descriptors by p-means, and relevance back to descriptors (2.65, 2.82)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from ..errors import InvalidInput
from .quotients import Quotients
from .shared import Floats


def p_means(mapped: Any, p: float) -> Floats:
    """x_d = (1/N sum_l m_ld^p)^(1/p), `[K]` from `[N, K]` (2.65).

    p = 1 is sum pooling (as a mean), infinity max pooling. m is divided by its largest magnitude
    first, since m^p underflows for large p. Raises InvalidInput where p is not above 0, or m has
    negative values and p is not a natural number.
    """
    largest, powers = relative_powers(mapped, p)
    if np.isinf(p):
        return largest
    means = _sums(powers) / mapped.shape[0]
    found: Floats = largest * np.sign(means) * np.abs(means) ** (1 / p)
    return found


def p_shares(
    mapped: Any, relevance: Floats, p: float, epsilon: float = 0.0
) -> tuple[Floats, float]:
    """Relevance `[K]` of words -> that of descriptors `[N]`, and what epsilon took.

    R_l = sum_d R_d m_ld^p / sum_l' m_l'd^p (2.82); of a word that no descriptor reached, evenly
    (2.79); among those at the maximum where p is infinite.
    """
    _, powers = relative_powers(mapped, p)
    reached = _sums(abs(powers)) > 0
    found = Quotients.of(relevance, _sums(powers), epsilon, reached)
    shares: Floats = np.asarray(powers @ found.quotients)
    return shares + found.evenly.sum() / mapped.shape[0], found.stabiliser


def relative_powers(mapped: Any, p: float) -> tuple[Floats, Any]:
    """max_l |m_ld| `[K]`, and (m / max)^p like `mapped`; where p is infinite, 1 at the maximum."""
    values = mapped.data if sparse.issparse(mapped) else mapped
    if not p > 0:
        raise InvalidInput(f"p is {p}; expected above 0 (1 sums, infinity takes the maximum)")
    if (np.isinf(p) or p != round(p)) and values.size and values.min() < 0:
        raise InvalidInput(
            f"this mapping has negative values, and p-means with p = {p} need m >= 0: choose a "
            "natural p or another mapping"
        )
    if sparse.issparse(mapped):
        largest = np.asarray(abs(mapped).max(axis=0).todense()).ravel().astype(np.float64)
        powers = mapped.tocsr().astype(np.float64)
        powers.data = _powers(powers.data, largest[powers.indices], p)
        return largest, powers
    dense = np.asarray(mapped, dtype=np.float64)
    largest = np.abs(dense).max(0)
    return largest, _powers(dense, largest, p)


def _powers(values: Floats, largest: Floats, p: float) -> Floats:
    if np.isinf(p):
        return ((values == largest) & (values > 0)).astype(np.float64)
    found: Floats = (values / np.where(largest > 0, largest, 1)) ** p
    return found


def _sums(mapped: Any) -> Floats:
    return np.asarray(mapped.sum(axis=0), dtype=np.float64).ravel()
