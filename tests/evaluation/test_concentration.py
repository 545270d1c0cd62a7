import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relprop.errors import InvalidInput
from relprop.evaluation import entropy, gini

LISTS = st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=12).filter(
    lambda values: max(map(abs, values)) > 1e-3
)


def mean_difference(values):
    """The textbook's definition: mean absolute difference over twice the mean."""
    sizes = np.abs(np.array(values, np.float64))
    return np.abs(sizes[:, None] - sizes).mean() / (2 * sizes.mean())


@settings(max_examples=50, deadline=None)
@given(values=LISTS)
def test_gini_is_half_the_relative_mean_difference(values):
    assert float(gini([[values]])) == pytest.approx(mean_difference(values), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(values=LISTS)
def test_entropy_is_shannons(values):
    sizes = [abs(value) for value in values]
    shares = [size / sum(sizes) for size in sizes]
    expected = -sum(share * math.log2(share) for share in shares if share > 0)
    assert float(entropy([[values]])) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(values=LISTS, scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_neither_scale_sign_nor_place_matter(values, scale, seed):
    maps = torch.tensor([[values]], dtype=torch.float64)
    moved = maps[..., torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))]
    for measure in (gini, entropy):
        found = measure(maps)
        for other in (maps * scale, -maps, moved):
            torch.testing.assert_close(measure(other), found, rtol=1e-9, atol=1e-9)


def test_ends_of_the_range():
    one = torch.zeros(1, 4, 4)
    one[0, 1, 2] = -3
    assert gini(one).tolist() == [15 / 16] and entropy(one).tolist() == [0]
    flat = torch.ones(1, 4, 4)
    assert gini(flat).tolist() == [0] and entropy(flat).tolist() == [4]
    assert gini(one * 0).isnan().all() and entropy(one * 0).isnan().all()


def test_each_map_by_itself():
    maps = torch.randn(3, 5, 5)
    for measure in (gini, entropy):
        alone = torch.cat([measure(one[None]) for one in maps])
        torch.testing.assert_close(measure(maps), alone)


@pytest.mark.parametrize("maps", [[1.0, 2.0], torch.zeros(0, 2, 2), [[float("nan"), 1.0]]])
def test_what_does_not_fit(maps):
    for measure in (gini, entropy):
        with pytest.raises(InvalidInput, match="heatmaps"):
            measure(maps)
