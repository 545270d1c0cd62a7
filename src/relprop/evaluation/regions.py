"""An image cut into square regions that do not overlap, and the order in which they go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidInput
from .checks import whole_number
from .noise import ORDER, TIES, words

ORDERS = ("morf", "lerf", "random")

_ELEMENTS = 2**24  # sorted at a time


@dataclass(frozen=True)
class Grid:
    """Regions of `side` x `side` pixels, row by row, in the middle of the image.

    Pixels that fill no region stand at the edges, shared between opposite ones, and are never
    touched. Raises InvalidInput for regions that do not fit.
    """

    height: int
    width: int
    side: int

    def __post_init__(self) -> None:
        if not 1 <= self.side <= min(self.height, self.width):
            raise InvalidInput(
                f"regions of {self.side} x {self.side} pixels do not fit into images of "
                f"{self.height} x {self.width}: region lies in 1..{min(self.height, self.width)}"
            )

    @property
    def rows(self) -> int:
        """Regions from top to bottom."""
        return self.height // self.side

    @property
    def columns(self) -> int:
        """Regions from left to right."""
        return self.width // self.side

    @property
    def count(self) -> int:
        """Regions of an image."""
        return self.rows * self.columns

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of pixels that regions cover."""
        top, left = (self.height % self.side) // 2, (self.width % self.side) // 2
        return (
            slice(top, top + self.rows * self.side),
            slice(left, left + self.columns * self.side),
        )

    @property
    def note(self) -> str | None:
        """What is left out at the edges, or None."""
        rows, columns = self.height % self.side, self.width % self.side
        if not rows and not columns:
            return None
        return (
            f"images of {self.height} x {self.width} hold {self.rows} x {self.columns} regions of "
            f"{self.side} x {self.side}; {rows} rows and {columns} columns of pixels at the edges "
            "are left out"
        )

    def sums(self, heatmaps: Tensor) -> Tensor:
        """`[N, H, W]` summed over each region, float64 `[N, regions]`."""
        rows, columns = self.inside
        cut = heatmaps[:, rows, columns].double()
        tiles = cut.unflatten(2, (self.columns, self.side)).unflatten(1, (self.rows, self.side))
        return tiles.sum((2, 4)).flatten(1)

    def pixels(self, values: Tensor, *, outside: int) -> Tensor:
        """A value for each region, `[B, regions]`, at each of its pixels: `[B, H, W]`.

        Pixels at the edges get what `outside` says.
        """
        batch, side = len(values), self.side
        tiles = values.view(batch, self.rows, 1, self.columns, 1)
        tiles = tiles.expand(batch, self.rows, side, self.columns, side)
        covered = tiles.reshape(batch, self.rows * side, self.columns * side)
        if self.note is None:
            return covered
        whole = covered.new_full((batch, self.height, self.width), outside)
        whole[:, self.inside[0], self.inside[1]] = covered
        return whole


def in_order(sums: Tensor, order: str, seeds: Tensor, *, first: int) -> Tensor:
    """The regions that go first, int64: `[N, first]`, or `[repeats, N, first]` at random.

    `sums` is `[N, regions]`, `seeds` is `[repeats, N]`. "morf": the most relevant first, "lerf":
    the least relevant first; equal ones in an order drawn for the image. "random": an order drawn
    for each image and repeat, whatever the sums.
    """
    regions = sums.shape[1]
    rows = max(1, _ELEMENTS // regions)
    if order == "random":
        drawn = [_shuffled(part, regions, ORDER)[:, :first] for part in seeds.flatten().split(rows)]
        return torch.cat(drawn).view(*seeds.shape, first)
    found = []
    for part, seed in zip(sums.split(rows), seeds[0].split(rows), strict=True):
        shuffled = _shuffled(seed, regions, TIES)
        place = part.gather(1, shuffled).argsort(dim=1, descending=order == "morf", stable=True)
        found.append(shuffled.gather(1, place[:, :first]))
    return torch.cat(found)


def _shuffled(seeds: Tensor, count: int, stream: int) -> Tensor:
    """A permutation of `count` for each seed."""
    return words(seeds, count, stream).argsort(1)


def steps_for(images: Tensor, side: int, per_step: float = 1) -> int:
    """How often to replace in images `[N, C, H, W]`, where nothing is said: 100 times, or until
    nothing is left.
    """
    grid = Grid(images.shape[2], images.shape[3], side)
    return min(100, -(-grid.count // regions_a_step(per_step, grid.count)))


def regions_a_step(per_step: float, regions: int) -> int:
    """How many of them go at once: a number, or a share below 1. Raises InvalidInput."""
    if isinstance(per_step, float):
        if not 0 < per_step < 1:
            raise InvalidInput(
                f"per_step is {per_step}; it must be an integer, or a share between 0 and 1"
            )
        return max(1, round(per_step * regions))
    return whole_number(per_step, "per_step")
