"""SIFT on a regular grid, turned to the main gradient of each patch (thesis 2.4.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.base import BaseEstimator

from ..errors import InvalidInput
from .areas import Masks
from .images import as_grey
from .shared import Floats
from .sift import BINS, ORIENTATIONS, normalise

_TURNS = 36  # bins of the histogram that the main gradient is read from
_SAMPLES = 6  # along each side of a bin
_BLUR = 0.5  # that of a photograph as it comes, in pixels


class TurnedSift(BaseEstimator):
    """SIFT descriptors of one scale on a regular grid, each in the frame of its main gradient.

    The image is smoothed to sigma. The main gradient is the peak of 36 orientations under a
    Gaussian of 1.5 sigma; 4 x 4 bins of 3 sigma with 8 orientations are laid out along it, sampled
    6 x 6 a bin, weighed by bilinear interpolation and a Gaussian window of two bins. The area is
    the turned square of side 12 sigma, cut off at the image's border.

    Attributes:
        sigma: scale, in pixels.
        step: pixels between centres.
        contrast: descriptors whose mean gradient lies below are zero, for images in [0, 1].
    """

    def __init__(self, *, sigma: float = 2.0, step: int = 6, contrast: float = 0.005) -> None:
        self.sigma = sigma
        self.step = step
        self.contrast = contrast

    def extract(self, image: Any) -> tuple[NDArray[np.float32], Masks]:
        """Descriptors `[N, 128]`, float32, and their turned squares, of an image `[H, W]` or
        `[H, W, 3]`.

        Centres lie where the square would fit if it were upright. Raises InvalidInput where there
        is none, and for parameters out of range.
        """
        if not self.sigma >= _BLUR or not self.step >= 1 or not self.contrast >= 0:
            raise InvalidInput(
                f"sigma {self.sigma}, step {self.step}, contrast {self.contrast}: sigma is "
                f"{_BLUR} or more, step a whole number from 1 on, contrast 0 or more"
            )
        grey = as_grey(image)
        centres = self._centres((grey.shape[0], grey.shape[1]))
        smooth = ndimage.gaussian_filter(grey, np.sqrt(self.sigma**2 - _BLUR**2), mode="nearest")
        down, across = np.gradient(smooth)
        angles = main_gradients(down, across, centres, self.sigma)
        found, weight = _descriptors(down, across, centres, angles, self.sigma)
        single = np.ascontiguousarray(found.reshape(len(centres), -1).T, dtype=np.float32)
        normalise(single, np.full(len(centres), self.contrast * weight, dtype=np.float32))
        sides = np.full(len(centres), 12 * self.sigma)
        return single.T, Masks.squares(centres, sides, angles, (grey.shape[0], grey.shape[1]))

    def _centres(self, shape: tuple[int, int]) -> Floats:
        half = int(np.ceil(6 * self.sigma))
        rows, columns = (np.arange(half, side - half, self.step) for side in shape)
        if not (len(rows) and len(columns)):
            raise InvalidInput(
                f"an image of {list(shape)} is too small: sigma {self.sigma} needs "
                f"{2 * half + 1} x {2 * half + 1}"
            )
        grid = np.meshgrid(rows, columns, indexing="ij")
        return np.stack([part.ravel() for part in grid], 1).astype(np.float64)


def main_gradients(down: Floats, across: Floats, centres: Floats, sigma: float) -> Floats:
    """`[N]`: the main gradient's angle at each centre, radians, x to the right and y down."""
    radius = int(round(4.5 * sigma))
    y, x = (part.ravel() for part in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    inside = y**2 + x**2 <= radius**2
    y, x = y[inside], x[inside]
    rows = np.clip(centres[:, :1].astype(int) + y, 0, down.shape[0] - 1)
    columns = np.clip(centres[:, 1:].astype(int) + x, 0, down.shape[1] - 1)
    gy, gx = down[rows, columns], across[rows, columns]
    weights = np.hypot(gy, gx) * np.exp(-(y**2 + x**2) / (2 * (1.5 * sigma) ** 2))
    histogram = np.einsum("nm,nmt->nt", weights, _between(np.arctan2(gy, gx), _TURNS))
    histogram = ndimage.convolve1d(histogram, np.array([1, 4, 6, 4, 1]) / 16, mode="wrap")
    peak = histogram.argmax(1)
    before, top, after = (
        np.take_along_axis(histogram, (peak[:, None] + shift) % _TURNS, 1)[:, 0]
        for shift in (-1, 0, 1)
    )
    curve = before - 2 * top + after  # a parabola through the peak and its neighbours
    offset = np.where(curve < 0, 0.5 * (before - after) / np.where(curve < 0, curve, 1), 0)
    found: Floats = (peak + offset) * (2 * np.pi / _TURNS)
    return found


def _descriptors(
    down: Floats, across: Floats, centres: Floats, angles: Floats, sigma: float
) -> tuple[Floats, float]:
    """`[N, 4, 4, 8]`, not normalised, and the sum of the weights of their samples."""
    at = (np.arange((BINS + 1) * _SAMPLES) + 0.5) / _SAMPLES - (BINS + 1) / 2  # in bins
    window = np.exp(-(at**2) / (2 * 2**2))
    bins = np.arange(BINS) - (BINS - 1) / 2
    weights = np.maximum(1 - np.abs(at - bins[:, None]), 0) * window  # [4, samples]
    v, u = np.meshgrid(at * 3 * sigma, at * 3 * sigma, indexing="ij")
    cosine, sine = (part(angles)[:, None, None] for part in (np.cos, np.sin))
    rows = centres[:, 0, None, None] + u * sine + v * cosine
    columns = centres[:, 1, None, None] + u * cosine - v * sine
    gy, gx = (
        ndimage.map_coordinates(part, [rows, columns], order=1, mode="nearest")
        for part in (down, across)
    )
    turned = _between(np.arctan2(gy, gx) - angles[:, None, None], ORIENTATIONS)
    turned *= np.hypot(gy, gx)[..., None]
    found = np.einsum("jb,nibo->nijo", weights, np.einsum("ia,nabo->nibo", weights, turned))
    return found, float(weights.sum() ** 2)


def _between(angles: Floats, count: int) -> Floats:
    """`[..., count]`: each angle divided linearly between its two nearest directions."""
    turns = angles * (count / (2 * np.pi)) % count
    away = np.abs(turns[..., None] - np.arange(count))
    return np.maximum(1 - np.minimum(away, count - away), 0)
