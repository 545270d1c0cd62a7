"""Large images explained in parts: where the parts lie, and their maps as one (thesis 2.4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InvalidInput
from relprop.viz.arrays import as_numbers


def tile_positions(
    shape: tuple[int, int], size: tuple[int, int], *, overlap: float = 0.5
) -> list[tuple[int, int]]:
    """(top, left) of tiles of `size` that cover an image of `shape`, both (height, width).

    Neighbours share at least `overlap` of their side; tiles are spaced evenly and none sticks
    out. Raises InvalidInput where the tile is larger than the image or overlap is not in [0, 1).
    """
    if not 0 <= overlap < 1:
        raise InvalidInput(f"overlap lies in [0, 1); it is {overlap}")
    if not all(0 < tile <= side for tile, side in zip(size, shape, strict=True)):
        raise InvalidInput(f"tiles of {tuple(size)} do not fit into an image of {tuple(shape)}")
    axes = []
    for tile, side in zip(size, shape, strict=True):
        step = max(1, int(tile * (1 - overlap)))
        count = -(-(side - tile) // step) + 1
        axes.append(np.linspace(0, side - tile, count).round().astype(int).tolist())
    return [(top, left) for top in axes[0] for left in axes[1]]


def merge_tiles(
    tiles: NDArray[Any] | torch.Tensor | Sequence[ArrayLike | torch.Tensor],
    positions: Sequence[tuple[int, int]],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """One map `[..., H, W]` of `shape` (H, W) from maps of its parts, averaged where they overlap.

    `tiles` are relevance or heatmaps `[..., h, w]` that have not been scaled one by one: none is
    scaled here, so that a part without evidence stays as weak beside the others as it is.
    `positions` are their (top, left). What no tile covers is zero. Raises InvalidInput where
    tiles stick out, or their number is not that of the positions.
    """
    parts = [as_numbers(tile) for tile in tiles]
    if not parts or len(parts) != len(positions):
        raise InvalidInput(f"{len(parts)} tiles and {len(positions)} positions: give one each")
    leading = parts[0].shape[:-2]
    total, count = np.zeros((*leading, *shape)), np.zeros(shape)
    for part, (top, left) in zip(parts, positions, strict=True):
        if part.ndim < 2 or part.shape[:-2] != leading:
            raise InvalidInput(
                f"tiles must all be {[*leading, 'h', 'w']}; one is {list(part.shape)}"
            )
        bottom, right = top + part.shape[-2], left + part.shape[-1]
        if min(top, left) < 0 or bottom > shape[0] or right > shape[1]:
            raise InvalidInput(
                f"a tile covers rows {top} to {bottom} and columns {left} to {right}, outside of "
                f"the map of {tuple(shape)}"
            )
        total[..., top:bottom, left:right] += part
        count[top:bottom, left:right] += 1
    return total / np.maximum(count, 1)
