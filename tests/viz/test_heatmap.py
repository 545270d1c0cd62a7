import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from relprop.errors import InvalidInput, UnknownName
from relprop.viz.heatmap import brighten, pool_channels, scale, smooth

KINDS = [np.asarray, torch.as_tensor]


def example(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "pooled"),
    [
        ((2, 3, 4, 5), (2, 4, 5)),
        ((2, 7, 3, 4, 5), (2, 7, 4, 5)),
        ((2, 3, 9), (2, 9)),
        ((2, 9), (2, 9)),
    ],
)
def test_channels_are_summed(kind, given, pooled):
    values = example(*given)
    found = pool_channels(kind(values))
    assert type(found) is type(kind(values)) and tuple(found.shape) == pooled
    expected = values if len(given) == 2 else values.sum(2 if len(given) == 5 else 1)
    np.testing.assert_allclose(np.asarray(found), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_over_channels(kind):
    values = example(2, 3, 4, 5)
    l2 = pool_channels(kind(values), "l2")
    np.testing.assert_allclose(np.asarray(l2), np.sqrt((values**2).sum(1)))
    np.testing.assert_array_equal(pool_channels(kind(values), "max"), np.abs(values).max(1))
    np.testing.assert_array_equal(pool_channels(kind(values[:, 0, 0]), "l2"), abs(values[:, 0, 0]))


def test_an_axis_of_classes_is_kept_where_it_is_announced():
    assert pool_channels(example(2, 7, 3, 9), classes=True).shape == (2, 7, 9)
    assert pool_channels(example(2, 7, 9), classes=True).shape == (2, 7, 9)
    assert pool_channels(example(2, 3, 4, 5, 6), classes=False).shape == (2, 4, 5, 6)


def test_what_pooling_refuses():
    with pytest.raises(UnknownName, match="unknown pooling 'mean'; there are: l2, max, sum"):
        pool_channels(example(2, 3, 4, 5), "mean")
    with pytest.raises(InvalidInput, match=r"one of positions at least; it is \[4\]"):
        pool_channels(example(4))
    with pytest.raises(InvalidInput, match=r"\(samples, classes\)"):
        pool_channels(example(4, 5), classes=True)


@pytest.mark.parametrize("kind", KINDS)
def test_each_sample_or_all_by_the_largest(kind):
    values = np.array([[[1.0, -2.0]], [[0.0, 0.0]], [[8.0, 4.0]]])
    np.testing.assert_array_equal(scale(kind(values)), [[[0.5, -1]], [[0, 0]], [[1, 0.5]]])
    joint = [[[0.125, -0.25]], [[0, 0]], [[1, 0.5]]]
    np.testing.assert_array_equal(scale(kind(values), joint=True), joint)


def test_classes_of_a_sample_share_its_scale():
    values = np.array([[[[1.0]], [[-4.0]]], [[[2.0]], [[2.0]]]])
    np.testing.assert_array_equal(scale(values).ravel(), [0.25, -1, 1, 1])
    np.testing.assert_array_equal(scale(values, joint=True).ravel(), [0.25, -1, 0.5, 0.5])
    np.testing.assert_array_equal(scale(values.reshape(-1, 1, 1)).ravel(), [1, -1, 1, 1])


def test_the_kind_of_number_is_kept():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert scale(torch.ones(2, 3, dtype=dtype)).dtype == dtype
    assert scale(np.array([[2, -4]])).tolist() == [[0.5, -1.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_refused(kind):
    for value in (np.nan, np.inf):
        with pytest.raises(InvalidInput, match="NaN or infinite values can't be scaled"):
            scale(kind(np.array([[1.0, value]])))


def test_nothing_to_scale():
    assert scale(np.zeros((0, 3, 3))).shape == (0, 3, 3)
    assert scale(torch.zeros(2, 0)).shape == (2, 0)
    np.testing.assert_array_equal(scale(np.array([3.0, -2.0, 0.0])), [1, -1, 0])


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
MAPS = arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=4), elements=FINITE)


@settings(deadline=None)
@given(values=MAPS, joint=st.booleans(), tensor=st.booleans())
def test_scaled_maps_are_finite_and_reach_one_or_are_zero(values, joint, tensor):
    """Down to the smallest subnormal and up to the largest float32."""
    found = np.asarray(scale(torch.from_numpy(values), joint) if tensor else scale(values, joint))
    assert np.isfinite(found).all() and (np.abs(found) <= 1).all()
    assert (np.sign(found) * np.sign(values) >= 0).all()
    peaks = np.abs(found).max() if joint else np.abs(found.reshape(len(found), -1)).max(1)
    largest = np.abs(values).max() if joint else np.abs(values.reshape(len(found), -1)).max(1)
    np.testing.assert_array_equal(peaks, np.where(largest == 0, 0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_brightening_keeps_signs_zeros_and_range(kind):
    found = brighten(kind(np.array([-1.0, -0.25, 0.0, 0.04, 1.0])))
    np.testing.assert_allclose(found, [-1, -0.5, 0, 0.2, 1])
    for gamma in (0, 1.5):
        with pytest.raises(InvalidInput, match=r"gamma lies in \(0, 1\]; it is"):
            brighten(kind(np.ones(3)), gamma)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_spreads_and_keeps_the_sum(kind):
    point = np.zeros((2, 41, 41))
    point[0, 20, 20], point[1, 10, 30] = 1, -3
    found = np.asarray(smooth(kind(point), 2.0))
    np.testing.assert_allclose(found.sum((1, 2)), [1, -3])
    assert found[0].argmax() == 20 * 41 + 20 and 0.03 < found[0].max() < 0.05
    np.testing.assert_allclose(found[0], found[0].T)
    with pytest.raises(InvalidInput, match="positive number of pixels; it is 0"):
        smooth(kind(point), 0)
