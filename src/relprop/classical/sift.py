"""Dense SIFT with a flat window, in numpy (thesis 2.4.1, 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ..errors import InvalidInput
from .areas import Boxes
from .images import as_grey
from .shared import Floats

ORIENTATIONS = 8
BINS = 4  # on each side
Single = NDArray[np.float32]
Whole = NDArray[np.int64]
_LARGEST = 0.2  # a component of a normalised descriptor is cut off here, then normalised again


class DenseSift(BaseEstimator):
    """SIFT descriptors on a regular grid, upright, at several scales.

    A descriptor has 4 x 4 bins of 8 orientations, rows first, orientations last. Bin (i, j) is
    centred at frame + (i - 1.5) b, weighs its surroundings by a triangle of half width b, and
    counts as the b x b pixels around its centre. The Gaussian window is one factor a bin (the flat
    window of VLFeat's fast variant). Frames of all scales have the same first centre.

    Attributes:
        step: pixels between frames.
        bin_sizes: b of each scale, in pixels.
        contrast: descriptors whose mean gradient lies below are zero, for images in [0, 1];
            0 keeps all but those of patches without any gradient.
    """

    def __init__(
        self,
        *,
        step: int = 3,
        bin_sizes: tuple[int, ...] = (4, 6, 8, 10),
        contrast: float = 0.005,
    ) -> None:
        self.step = step
        self.bin_sizes = bin_sizes
        self.contrast = contrast

    def extract(self, image: Any) -> tuple[Single, Boxes]:
        """Descriptors `[N, 128]`, float32, and their boxes, of an image `[H, W]` or `[H, W, 3]`.

        Scales that do not fit into the image are left out. Raises InvalidInput where none fits,
        and for parameters out of range.
        """
        self._check()
        grey = as_grey(image)
        starts = [self._starts(grey.shape, size) for size in self.bin_sizes]
        count = sum(len(rows) * len(columns) for rows, columns in starts)
        if count == 0:
            least = self._first(min(self.bin_sizes)) + 3 * min(self.bin_sizes) + 1
            raise InvalidInput(
                f"an image of {list(grey.shape)} is too small: bins of {min(self.bin_sizes)} "
                f"pixels need {least} x {least}; give it larger, or other bin_sizes"
            )
        planes = oriented_gradients(grey).astype(np.float32)
        found = np.empty((BINS, BINS, ORIENTATIONS, count), dtype=np.float32)
        boxes, at = [], 0
        for (rows, columns), size in zip(starts, self.bin_sizes, strict=True):
            own = found[..., at : (at := at + len(rows) * len(columns))]
            if own.size:
                _gather(planes, rows, columns, self.step, size, own)
                boxes.append(_boxes(rows, columns, size))
        descriptors = found.reshape(-1, count)
        where = Boxes(np.concatenate(boxes), (grey.shape[0], grey.shape[1]), grid=(BINS, BINS))
        normalise(descriptors, self._floor(where))
        return descriptors.T, where

    def _starts(self, shape: tuple[int, ...], size: int) -> tuple[Whole, Whole]:
        """Centres of the first bins along rows and columns."""
        first = self._first(size)
        rows, columns = (np.arange(first, side - 3 * size, self.step) for side in shape)
        return rows, columns

    def _first(self, size: int) -> int:
        """Where the first bin has its centre, so that frames of all scales have the same."""
        return 3 * (max(self.bin_sizes) - size) // 2

    def _floor(self, where: Boxes) -> Single:
        """`[N]`: the sum of a descriptor's raw components below which it is zero."""
        sides = where.boxes[:, 2] - where.boxes[:, 0]
        return (self.contrast * (sides * 3 // BINS + 1) ** 2).astype(np.float32)

    def _check(self) -> None:
        whole = (int, np.integer)
        if not isinstance(self.step, whole) or self.step < 1:
            raise InvalidInput(
                f"step is {self.step!r}; expected a whole number of pixels, 1 or more"
            )
        sizes = tuple(self.bin_sizes)
        if not sizes or not all(isinstance(size, whole) and size >= 1 for size in sizes):
            raise InvalidInput(f"bin_sizes is {sizes}; expected whole numbers of pixels, 1 or more")
        if not self.contrast >= 0:
            raise InvalidInput(f"contrast is {self.contrast!r}; expected 0 or more")


def oriented_gradients(grey: Floats) -> Floats:
    """`[8, H, W]`: gradient magnitudes, each divided linearly between its two nearest orientations.

    Central differences; one-sided at the border. Raises InvalidInput for less than 2 x 2 pixels.
    """
    if min(grey.shape) < 2:
        raise InvalidInput(f"an image of {list(grey.shape)} has no gradient: 2 x 2 pixels at least")
    down, across = np.gradient(grey)
    turns = np.arctan2(down, across) * (ORIENTATIONS / (2 * np.pi))  # -4 to 4
    magnitude = np.hypot(down, across)
    planes = np.empty((ORIENTATIONS, *grey.shape))
    for orientation, plane in enumerate(planes):
        away = np.abs(turns - (orientation - ORIENTATIONS * (orientation > ORIENTATIONS // 2)))
        away = np.minimum(away, ORIENTATIONS - away)
        np.multiply(np.maximum(1 - away, 0), magnitude, out=plane)
    return planes


def window(size: int) -> Floats:
    """`[4]`: the mean over each bin of a Gaussian window with a deviation of two bins."""
    offsets = np.arange(1 - size, size)
    centres = size * (np.arange(BINS) - (BINS - 1) / 2)
    found: Floats = np.exp(-0.5 * ((offsets - centres[:, None]) / (2 * size)) ** 2).mean(1)
    return found


def _gather(
    planes: Single, rows: Whole, columns: Whole, step: int, size: int, into: Single
) -> None:
    """Fill `into` `[4, 4, 8, rows x columns]` with what the bins of one scale sum up.

    Plane by plane, since one plane stays in the processor's cache while it is filtered and read.
    """
    weights = (window(size) * size).astype(np.float32)
    down = [slice(rows[0] + i * size, rows[-1] + i * size + 1, step) for i in range(BINS)]
    across = [slice(columns[0] + j * size, columns[-1] + j * size + 1, step) for j in range(BINS)]
    for orientation, plane in enumerate(planes):
        smooth = _triangles(_triangles(plane, size, 0), size, 1)
        for i in range(BINS):
            for j in range(BINS):
                own = into[i, j, orientation].reshape(len(rows), len(columns))
                np.multiply(smooth[down[i], across[j]], weights[i] * weights[j], out=own)


def _triangles(plane: Single, size: int, axis: int) -> Single:
    """Means of `[H, W]` under triangles of half width `size`; edges are continued outwards."""
    pads = [(0, 0), (0, 0)]
    pads[axis] = (size - 1, size - 1)
    sums = _boxes_of(_boxes_of(np.pad(plane, pads, mode="edge"), size, axis), size, axis)
    sums *= np.float32(1 / size**2)
    return sums


def _boxes_of(plane: Single, size: int, axis: int) -> Single:
    """Sums of `size` neighbours along an axis, by doubling: no running sum that loses digits."""

    def at(array: Single, start: int, length: int) -> Single:
        return array[start : start + length] if axis == 0 else array[:, start : start + length]

    length = plane.shape[axis]
    doubled, width = plane, 1
    found, covered = None, 0
    while True:
        if size & width:
            left = length - covered - width + 1
            part = at(doubled, covered, left)
            found = part if found is None else at(found, 0, left) + part
            covered += width
        if covered == size:
            assert found is not None
            return found if found is not plane else plane.copy()
        doubled = at(doubled, 0, length - 2 * width + 1) + at(
            doubled, width, length - 2 * width + 1
        )
        width *= 2


def _boxes(rows: Whole, columns: Whole, size: int) -> Whole:
    """`[N, 4]`: a bin's centre is a whole pixel; its b pixels begin b // 2 before."""
    top, left = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    low = np.stack([top, left], 1) - size // 2
    return np.concatenate([low, low + BINS * size], 1)


def normalise(descriptors: Single, floor: Single) -> None:
    """`[128, N]` to unit length, cut off at 0.2, to unit length again; flat patches to zero. In
    place.
    """
    for start in range(0, descriptors.shape[1], 4096):
        own = descriptors[:, start : start + 4096]
        own[:, own.sum(0) <= floor[start : start + 4096]] = 0
        for again in (False, True):
            length = np.sqrt(np.einsum("dn,dn->n", own, own))
            own *= 1 / np.where(length > 0, length, 1)
            if not again:
                np.minimum(own, _LARGEST, out=own)
