"""Dense SIFT against loops over pixels and against figures of VLFeat.

scikit-image has no dense SIFT: its SIFT finds and turns its own keypoints, and its daisy has other
bins, so that neither serves as a reference.
"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from relprop.classical import DenseSift
from relprop.data import photograph
from relprop.errors import InvalidInput

from . import slow

DRAWN = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "step", "sizes"),
    [((21, 26), 3, (4, 6)), ((19, 17), 2, (5,)), ((16, 30), 4, (1, 2, 3)), ((13, 13), 3, (4,))],
)
def test_equals_loops(shape, step, sizes):
    grey = DRAWN.random(shape)
    expected, frames = slow.dense_sift(grey, step, sizes)
    found, areas = DenseSift(step=step, bin_sizes=sizes, contrast=0).extract(grey)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(areas.boxes[:, 2] - areas.boxes[:, 0], 4 * frames[:, 2])
    middle = areas.centres - frames[:, :2]  # half a pixel, where b is odd and its box cannot halve
    assert (np.abs(middle) <= 0.5).all()


def test_equals_vlfeat():
    """Figures by VLFeat 0.9.21's flat-window dsift (its C code, with its fast arctangent) for one
    crop, frames aligned as in vl_phow, 40 descriptors of 495 drawn at random.
    """
    with np.load(Path(__file__).with_name("vlfeat.npz")) as stored:
        expected, indices = stored["descriptors"], stored["indices"]
    crop = photograph("camera")[100:180, 180:280]
    found = DenseSift(step=6, contrast=0).extract(crop)[0][indices]
    cosine = (found * expected).sum(1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.9999


def test_a_photograph_has_as_many_as_the_thesis_says():
    """69,000 on average; and every box has pixels inside."""
    descriptors, areas = DenseSift().extract(np.zeros((360, 480)))
    assert descriptors.shape == (67574, 128)
    assert len(areas) == 67574
    assert areas.shape == (360, 480)
    assert not descriptors.any()


def test_flat_patches_are_zero():
    image = np.zeros((40, 80))
    image[:, 60:] = DRAWN.random((40, 20))
    faint = image / 400
    descriptors, areas = DenseSift(bin_sizes=(4,)).extract(image)
    far = areas.centres[:, 1] < 40
    assert not descriptors[far].any()
    lengths = np.linalg.norm(descriptors[descriptors.any(1)], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)  # descriptors are float32
    assert descriptors.any()
    assert not DenseSift(bin_sizes=(4,)).extract(faint)[0].any()
    assert DenseSift(bin_sizes=(4,), contrast=0).extract(faint)[0].any()


def test_a_step_lights_the_bins_around_it():
    """An edge down the image: gradients to the right, in the bins whose triangle reaches it."""
    image = np.zeros((40, 40))
    image[:, 20:] = 1
    descriptors, areas = DenseSift(step=1, bin_sizes=(4,)).extract(image)
    for own, left in zip(descriptors.reshape(-1, 4, 4, 8), areas.boxes[:, 1], strict=True):
        centres = left + 2 + 4 * np.arange(4)
        reached = np.minimum(abs(centres - 19), abs(centres - 20)) < 4
        np.testing.assert_array_equal((own > 0).any((0, 2)), reached)
        assert not own[..., 1:].any()


def test_scales_and_types_of_images():
    colour = photograph("chelsea")[:60, :70]
    grey = colour @ np.array([0.299, 0.587, 0.114]) / 255
    first, _ = DenseSift(step=5).extract(colour)
    second, _ = DenseSift(step=5).extract(grey)
    third, _ = DenseSift(step=5).extract(colour.astype(np.float32) / 255)
    np.testing.assert_allclose(first, second, atol=1e-6)
    np.testing.assert_allclose(first, third, atol=1e-4)


def test_scales_that_do_not_fit_are_left_out():
    descriptors, areas = DenseSift().extract(DRAWN.random((25, 25)))
    assert set(areas.boxes[:, 2] - areas.boxes[:, 0]) == {16, 24}
    assert len(descriptors) == len(areas)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((12, 40)), {}, r"an image of \[12, 40\] is too small: bins of 4 pixels need 22"),
        (np.zeros((40, 40, 4)), {}, r"shape \[40, 40, 4\]; expected grey"),
        (np.zeros((40, 40), dtype=int), {}, "an image of int64: give uint8"),
        (np.full((40, 40), "a"), {}, "expected uint8, or floats"),
        (np.full((40, 40), np.nan), {}, "NaN or infinite"),
        (np.zeros((40, 40)), {"step": 0}, "step is 0"),
        (np.zeros((40, 40)), {"bin_sizes": (4, 2.5)}, r"bin_sizes is \(4, 2.5\)"),
        (np.zeros((40, 40)), {"bin_sizes": ()}, r"bin_sizes is \(\)"),
        (np.zeros((40, 40)), {"contrast": -1}, "contrast is -1"),
    ],
)
def test_what_does_not_fit(image, options, message):
    with pytest.raises(InvalidInput, match=message):
        DenseSift(**options).extract(image)


def test_parameters_are_scikit_learns():
    features = DenseSift(step=5, bin_sizes=(4,))
    assert clone(features).get_params() == {"step": 5, "bin_sizes": (4,), "contrast": 0.005}
