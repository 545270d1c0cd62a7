"""Regions of an image, and which of its descriptors lie in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shared import Floats

Cell = slice | NDArray[np.int64]  # indices of descriptors


@dataclass(frozen=True, eq=False)
class Regions:
    """R regions that may overlap, made of C cells that do not: sums are taken once a cell.

    Attributes:
        cells: for each cell, the indices of its descriptors (a slice where it has all).
        member: `[R, C]`, 1 where the cell is part of the region.
        counts: `[R]`, descriptors in each region.
    """

    cells: tuple[Cell, ...]
    member: Floats
    counts: Floats

    @classmethod
    def whole(cls, count: int) -> Regions:
        """One region with all descriptors."""
        return cls((slice(None),), np.ones((1, 1)), np.array([float(count)]))

    @classmethod
    def grids(
        cls, centres: Floats, shape: tuple[int, int], levels: tuple[tuple[int, int], ...]
    ) -> Regions:
        """The regions of grids of rows x columns laid over an image, by descriptors' centres."""
        inside = np.concatenate([_inside(centres, shape, level) for level in levels], 1)
        kinds, cell = np.unique(inside, axis=0, return_inverse=True)
        cells = tuple(np.flatnonzero(cell.ravel() == kind) for kind in range(len(kinds)))
        member = kinds.T.astype(np.float64)
        return cls(cells, member, member @ np.array([float(len(own)) for own in cells]))

    def __len__(self) -> int:
        return len(self.member)

    @property
    def filled(self) -> list[int]:
        """Regions with a descriptor or more."""
        found: list[int] = np.flatnonzero(self.counts).tolist()
        return found

    def inside(self, region: int) -> Cell:
        """Indices of the descriptors in a region."""
        own = [cell for cell, part in zip(self.cells, self.member[region], strict=True) if part]
        if len(own) == 1:
            return own[0]
        return np.concatenate([np.zeros(0, dtype=np.int64), *own])


def _inside(centres: Floats, shape: tuple[int, int], level: tuple[int, int]) -> NDArray[np.bool_]:
    """`[N, rows * columns]`: true for the one region of this grid that holds the centre."""
    rows, columns = level
    row = (centres[:, 0] * rows / shape[0]).astype(np.int64).clip(0, rows - 1)
    column = (centres[:, 1] * columns / shape[1]).astype(np.int64).clip(0, columns - 1)
    return (row * columns + column)[:, None] == np.arange(rows * columns)
