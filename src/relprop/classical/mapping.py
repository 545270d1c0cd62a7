"""How descriptors are mapped onto visual words (thesis 2.4.2, 2.86).

A mapping is any callable (descriptors `[N, D]`, words `[K, D]`) -> `[N, K]`, dense or a sparse
matrix: sparse and locality-constrained codings plug in so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import InvalidInput
from .mixture import blocks
from .shared import Floats


class Mapping(Protocol):
    """How much each word takes part in each descriptor."""

    def __call__(self, descriptors: Any, words: Floats) -> Any: ...


@dataclass(frozen=True)
class Hard:
    """m = 1 for the nearest word, 0 elsewhere."""

    def __call__(self, descriptors: Any, words: Floats) -> Any:
        """Sparse `[N, K]`."""
        nearest = [own.argmin(1)[:, None] for _, own in _distances(descriptors, words)]
        return _sparse(np.concatenate(nearest), np.ones(1), len(words))


@dataclass(frozen=True)
class Soft:
    """m_d = exp(-beta ||l - b_d||^2), divided by the sum over all words."""

    beta: float = 10.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InvalidInput(f"beta is {self.beta}; expected above 0")

    def __call__(self, descriptors: Any, words: Floats) -> Any:
        """Dense `[N, K]`; rows sum to 1."""
        found = np.empty((len(descriptors), len(words)))
        for rows, own in _distances(descriptors, words):
            shares = np.exp(-self.beta * (own - own.min(1, keepdims=True)))
            found[rows] = shares / shares.sum(1, keepdims=True)
        return found


@dataclass(frozen=True)
class Rank:
    """m_d = base^-rank for the `nearest` words, 0 elsewhere; the nearest has rank 1 (2.86)."""

    base: float = 2.0
    nearest: int = 4

    def __post_init__(self) -> None:
        if not self.base > 1:
            raise InvalidInput(f"base is {self.base}; expected above 1")
        if not self.nearest >= 1:
            raise InvalidInput(f"nearest is {self.nearest}; expected 1 word or more")

    def __call__(self, descriptors: Any, words: Floats) -> Any:
        """Sparse `[N, K]`."""
        count = min(self.nearest, len(words))
        ranked = []
        for _, own in _distances(descriptors, words):
            near = np.argpartition(own, count - 1, axis=1)[:, :count]
            order = np.take_along_axis(own, near, 1).argsort(1, kind="stable")
            ranked.append(np.take_along_axis(near, order, 1))
        values = np.power(float(self.base), -np.arange(1.0, count + 1))
        return _sparse(np.concatenate(ranked), values, len(words))


MAPPINGS: dict[str, Mapping] = {"hard": Hard(), "soft": Soft(), "rank": Rank()}


def _distances(descriptors: Any, words: Floats) -> Iterator[tuple[slice, Floats]]:
    """||l - b||^2 - ||l||^2, a block of descriptors at a time: enough to rank and to compare."""
    lengths = np.einsum("kd,kd->k", words, words)
    turned = -2 * words.T
    for rows in blocks(len(descriptors), 1024):
        yield rows, np.asarray(descriptors[rows], dtype=np.float64) @ turned + lengths


def _sparse(columns: NDArray[np.intp], values: Floats, words: int) -> Any:
    """CSR `[N, K]` with these values in these columns, row by row."""
    count, each = columns.shape
    indices = columns.ravel()
    starts = np.arange(0, count * each + 1, each)
    return sparse.csr_array((np.tile(values, count), indices, starts), shape=(count, words))
