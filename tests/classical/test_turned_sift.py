"""Turned SIFT against loops, and against the same image turned."""

import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn.base import clone

from relprop.classical import TurnedSift
from relprop.data import photograph
from relprop.errors import InvalidInput

GREY = photograph("camera")[60:150, 180:270, 0] / 255


def bilinear(plane, y, x):
    height, width = plane.shape
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    dy, dx = y - top, x - left
    rows = plane[top, left : left + 2] * (1 - dy) + plane[top + 1, left : left + 2] * dy
    return rows[0] * (1 - dx) + rows[1] * dx


def descriptor(down, across, cy, cx, angle, sigma):
    """One descriptor, sample by sample; 6 x 6 samples a bin, half a bin beyond on each side."""
    bins = np.zeros((4, 4, 8))
    for a in range(30):
        for b in range(30):
            v, u = (a + 0.5) / 6 - 2.5, (b + 0.5) / 6 - 2.5
            y = cy + 3 * sigma * (u * math.sin(angle) + v * math.cos(angle))
            x = cx + 3 * sigma * (u * math.cos(angle) - v * math.sin(angle))
            gy, gx = bilinear(down, y, x), bilinear(across, y, x)
            turn = ((math.atan2(gy, gx) - angle) / (2 * math.pi) * 8) % 8
            size = math.hypot(gy, gx) * math.exp(-(u * u + v * v) / 8)
            low = int(turn)
            for i in range(4):
                for j in range(4):
                    near = max(0, 1 - abs(v - i + 1.5)) * max(0, 1 - abs(u - j + 1.5))
                    bins[i, j, low % 8] += near * size * (low + 1 - turn)
                    bins[i, j, (low + 1) % 8] += near * size * (turn - low)
    found = np.minimum(bins.ravel() / np.linalg.norm(bins), 0.2)
    return found / np.linalg.norm(found)


def test_equals_loops():
    sigma = 2.0
    found, areas = TurnedSift(sigma=sigma, step=40, contrast=0).extract(GREY)
    smooth = ndimage.gaussian_filter(GREY, math.sqrt(sigma**2 - 0.25), mode="nearest")
    down, across = np.gradient(smooth)
    centres = [(y, x) for y in range(12, 78, 40) for x in range(12, 78, 40)]
    assert len(found) == len(areas) == len(centres)
    for own, (cy, cx) in zip(found, centres, strict=True):
        angle = main_gradient(down, across, cy, cx, sigma)
        expected = descriptor(down, across, cy, cx, angle, sigma)
        np.testing.assert_allclose(own, expected, atol=1e-5)


def main_gradient(down, across, cy, cx, sigma):
    histogram = np.zeros(36)
    for y in range(cy - 9, cy + 10):
        for x in range(cx - 9, cx + 10):
            if (y - cy) ** 2 + (x - cx) ** 2 > 81:
                continue
            gy, gx = down[y, x], across[y, x]
            turn = (math.atan2(gy, gx) / (2 * math.pi) * 36) % 36
            weight = math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (1.5 * sigma) ** 2))
            low = int(turn)
            histogram[low % 36] += weight * math.hypot(gy, gx) * (low + 1 - turn)
            histogram[(low + 1) % 36] += weight * math.hypot(gy, gx) * (turn - low)
    kernel = (1, 4, 6, 4, 1)
    smooth = [sum(kernel[s + 2] * histogram[(t + s) % 36] for s in range(-2, 3)) for t in range(36)]
    peak = int(np.argmax(smooth))
    before, top, after = smooth[peak - 1], smooth[peak], smooth[(peak + 1) % 36]
    return (peak + 0.5 * (before - after) / (before - 2 * top + after)) * 2 * math.pi / 36


def test_a_turned_image_has_the_same_descriptors():
    """By a right angle, where nothing is interpolated anew: the grid turns onto itself."""
    image = GREY[:73, :73]
    found, areas = TurnedSift(sigma=2, step=8).extract(image)
    turned, turned_areas = TurnedSift(sigma=2, step=8).extract(np.rot90(image))
    grid = found.reshape(7, 7, -1)
    np.testing.assert_allclose(np.rot90(grid), turned.reshape(7, 7, -1), atol=1e-4)
    relevance = np.random.default_rng(0).standard_normal(49)
    maps = areas.to_pixels(relevance)
    again = turned_areas.to_pixels(np.rot90(relevance.reshape(7, 7)).ravel())
    assert maps.sum() == pytest.approx(relevance.sum())
    np.testing.assert_allclose(np.rot90(maps), again, atol=0.02 * np.abs(maps).max())


def test_what_does_not_fit():
    with pytest.raises(InvalidInput, match=r"\[24, 40\] is too small: sigma 2.0 needs 25 x 25"):
        TurnedSift().extract(np.zeros((24, 40)))
    for options in ({"sigma": 0.1}, {"step": 0}, {"contrast": -1}):
        with pytest.raises(InvalidInput, match="step a whole number"):
            TurnedSift(**options).extract(GREY)
    descriptors, _ = TurnedSift().extract(np.full((40, 40), 0.3))
    assert not descriptors.any()
    assert clone(TurnedSift(sigma=3)).get_params() == {"sigma": 3, "step": 6, "contrast": 0.005}
