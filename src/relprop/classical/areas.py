"""Where local features lie, and how their relevance becomes pixels (thesis 2.85, appendix D).

Anything that has `extract(image) -> (descriptors, areas)` can stand in for dense SIFT: colour
quantiles of patches, sparse keypoints. Areas are any object with what `Areas` names; `Boxes` serves
axis-parallel areas, `Masks` those of any form, such as rotated squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..errors import InvalidInput
from .pixels import Integers, add_boxes, add_grids
from .shared import Floats


class Areas(Protocol):
    """Where the N descriptors of one image lie."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...

    @property
    def centres(self) -> Floats:
        """`[N, 2]`, row and column, in pixels."""
        ...

    def to_pixels(self, relevance: Floats) -> Floats:
        """`[H, W]` from the relevance of descriptors `[N]` or of their components `[N, D]`."""
        ...


class LocalFeatures(Protocol):
    """What an encoder reads an image with."""

    def extract(self, image: Any) -> tuple[NDArray[Any], Areas]:
        """Descriptors `[N, D]` of one image, N at least 1, and their areas."""
        ...


@dataclass(frozen=True, eq=False)
class Boxes:
    """Axis-parallel areas: boxes `[N, 4]` (top, left, bottom, right; half open) in an image of
    `shape` (H, W). What sticks out of the image is cut off.

    `grid` divides a box into rows x columns of parts: component d of a descriptor belongs to part
    d // (D / parts), row by row. Raises InvalidInput for boxes without a pixel in the image.
    """

    boxes: Integers
    shape: tuple[int, int]
    grid: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "ui":
            raise InvalidInput(f"boxes are integers [N, 4]; these are {boxes.dtype} {boxes.shape}")
        object.__setattr__(self, "boxes", boxes.astype(np.int64))
        inside = _clipped(self.boxes, self.shape)
        if (inside[:, 2:] <= inside[:, :2]).any():
            raise InvalidInput(f"a box has no pixel within the image of {self.shape}")

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def centres(self) -> Floats:
        """`[N, 2]`, row and column, in pixels."""
        centres: Floats = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return centres

    def to_pixels(self, relevance: Floats) -> Floats:
        """`[H, W]`: descriptors `[N]` evenly over their boxes (2.85), components `[N, D]` evenly
        over their parts (appendix D).
        """
        if relevance.ndim == 1 or self.grid == (1, 1):
            own = relevance if relevance.ndim == 1 else relevance.sum(1)
            inside = _clipped(self.boxes, self.shape)
            sides = inside[:, 2:] - inside[:, :2]
            return add_boxes(inside, own / sides.prod(1), self.shape)
        down, across = self.grid
        if relevance.shape[1] % (down * across):
            raise InvalidInput(
                f"{relevance.shape[1]} components do not divide into {down} x {across} parts"
            )
        rows = _edges(self.boxes[:, 0], self.boxes[:, 2], down).clip(0, self.shape[0])
        columns = _edges(self.boxes[:, 1], self.boxes[:, 3], across).clip(0, self.shape[1])
        areas = np.diff(rows)[:, :, None] * np.diff(columns)[:, None, :]
        if not areas.all():
            raise InvalidInput(f"a part of a box has no pixel within the image of {self.shape}")
        parts = relevance.reshape(len(self), down, across, -1).sum(3)
        return add_grids(rows, columns, parts / areas, self.shape)


@dataclass(frozen=True, eq=False)
class Masks:
    """Areas of any form: pixels is a sparse matrix `[N, H W]` that is not zero where an area is.

    A row's numbers are its shares, scaled to sum to 1: ones spread evenly (2.85). Components of a
    descriptor are summed first. Raises InvalidInput for an area without pixels.
    """

    pixels: Any
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        pixels = sparse.csr_array(self.pixels, dtype=np.float64)
        if pixels.shape[1] != self.shape[0] * self.shape[1]:
            raise InvalidInput(f"masks of {pixels.shape[1]} pixels; {self.shape} has others")
        total = pixels.sum(1)
        if len(total) and (total <= 0).any():
            raise InvalidInput(f"an area has no pixel within the image of {self.shape}")
        object.__setattr__(self, "pixels", sparse.diags_array(1 / total).tocsr() @ pixels)

    @classmethod
    def squares(
        cls, centres: ArrayLike, sides: ArrayLike, angles: ArrayLike, shape: tuple[int, int]
    ) -> Masks:
        """Rotated squares: those pixels whose centre lies inside; centres `[N, 2]` (row, column),
        sides `[N]` in pixels (12 sigma for SIFT), angles `[N]` in radians.
        """
        middle, half = np.asarray(centres, dtype=float), np.asarray(sides, dtype=float) / 2
        turned = np.asarray(angles, dtype=float)
        rows, columns = [], []
        for (y, x), side, angle in zip(middle, half, turned, strict=True):
            reach = side * np.sqrt(2)
            down = np.arange(max(0, int(y - reach)), min(shape[0], int(y + reach) + 2))
            across = np.arange(max(0, int(x - reach)), min(shape[1], int(x + reach) + 2))
            dy, dx = down[:, None] - y, across[None, :] - x
            along = np.abs(dx * np.cos(angle) + dy * np.sin(angle))
            beside = np.abs(dy * np.cos(angle) - dx * np.sin(angle))
            inside = np.nonzero(np.maximum(along, beside) <= side)
            columns.append(down[inside[0]] * shape[1] + across[inside[1]])
            rows.append(len(inside[0]))
        starts = np.concatenate([[0], np.cumsum(rows)])
        indices = np.concatenate(columns) if columns else np.zeros(0, dtype=int)
        found = sparse.csr_array(
            (np.ones(len(indices)), indices, starts), shape=(len(middle), shape[0] * shape[1])
        )
        return cls(found, shape)

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def centres(self) -> Floats:
        """`[N, 2]`, row and column of the centre of mass, in pixels."""
        where = np.indices(self.shape).reshape(2, -1).T
        found: Floats = self.pixels @ where.astype(np.float64)
        return found

    def to_pixels(self, relevance: Floats) -> Floats:
        """`[H, W]` from the relevance of descriptors `[N]` or of their components `[N, D]`."""
        own = relevance if relevance.ndim == 1 else relevance.sum(1)
        found: Floats = (self.pixels.T @ own).reshape(self.shape)
        return found


def _clipped(boxes: Integers, shape: tuple[int, int]) -> Integers:
    return boxes.clip(0, [shape[0], shape[1], shape[0], shape[1]])


def _edges(low: Integers, high: Integers, parts: int) -> Integers:
    """`[N, parts + 1]`: where the parts of a box begin and end, rounded to whole pixels."""
    edges = low[:, None] + np.arange(parts + 1) * (high - low)[:, None] / parts
    return np.rint(edges).astype(np.int64)
