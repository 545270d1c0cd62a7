"""From areas to pixels: many boxes of one value each, added up in one pass over the map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .shared import Floats

Integers = NDArray[np.int64]


def add_boxes(boxes: Integers, values: Floats, shape: tuple[int, int]) -> Floats:
    """The map `[H, W]` of boxes `[N, 4]` (top, left, bottom, right; half open) of which each pixel
    holds values `[N]`.

    A box is four corners of a 2-D difference array, whose double cumulative sum is the map: the
    cost is N + H W, whatever the size of the boxes.
    """
    top, left, bottom, right = boxes.T
    rows = np.concatenate([top, top, bottom, bottom])
    columns = np.concatenate([left, right, left, right])
    return _integrated(rows, columns, np.concatenate([values, -values, -values, values]), shape)


def add_grids(rows: Integers, columns: Integers, values: Floats, shape: tuple[int, int]) -> Floats:
    """The map `[H, W]` of grids of boxes that touch: cell (i, j) of grid n lies between rows
    `[N, I + 1]` i and i + 1 and columns `[N, J + 1]` j and j + 1; each of its pixels holds values
    `[N, I, J]`.

    Neighbours share corners, so that a grid of 4 x 4 costs 25 corners, not 64.
    """
    corners = np.zeros((len(values), rows.shape[1], columns.shape[1]))
    corners[:, :-1, :-1] += values
    corners[:, 1:, :-1] -= values
    corners[:, :-1, 1:] -= values
    corners[:, 1:, 1:] += values
    at_rows = np.broadcast_to(rows[:, :, None], corners.shape)
    at_columns = np.broadcast_to(columns[:, None, :], corners.shape)
    return _integrated(at_rows.ravel(), at_columns.ravel(), corners.ravel(), shape)


def _integrated(
    rows: Integers, columns: Integers, values: Floats, shape: tuple[int, int]
) -> Floats:
    height, width = shape
    differences = np.bincount(
        rows * (width + 1) + columns, weights=values, minlength=(height + 1) * (width + 1)
    ).reshape(height + 1, width + 1)
    return differences.cumsum(0).cumsum(1)[:height, :width]
