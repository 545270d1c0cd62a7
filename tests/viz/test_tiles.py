from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relprop.errors import InvalidInput
from relprop.viz import merge_tiles, tile_positions


def test_overlaps_are_averaged_and_the_scale_is_kept():
    weak, strong = np.full((2, 2), 1.0), np.full((2, 2), 100.0)
    found = merge_tiles([weak, strong], [(0, 0), (0, 1)], (3, 4))
    assert found.tolist() == [[1, 50.5, 100, 0], [1, 50.5, 100, 0], [0, 0, 0, 0]]


@settings(deadline=None, max_examples=60)
@given(
    sides=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    tile=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    overlap=st.floats(0, 0.95),
)
def test_tiles_cut_out_of_a_map_give_it_back(sides, tile, overlap):
    """The positions cover all of it, none sticks out, and neighbours overlap as asked."""
    size = min(sides[0], tile[0]), min(sides[1], tile[1])
    whole = np.random.default_rng(0).normal(size=(2, *sides))
    places = tile_positions(sides, size, overlap=overlap)
    tiles = [whole[:, y : y + size[0], x : x + size[1]] for y, x in places]
    assert {cut.shape for cut in tiles} == {(2, *size)} and len(set(places)) == len(places)
    np.testing.assert_allclose(merge_tiles(tiles, places, sides), whole, atol=1e-12)
    tops = sorted({y for y, _ in places})
    steps = [below - above for above, below in pairwise(tops)]
    assert max(steps, default=0) <= max(1, size[0] * (1 - overlap))


def test_tensors_and_stacks():
    tiles = torch.arange(8.0).reshape(2, 2, 2)
    expected = merge_tiles(tiles.numpy(), [(0, 0), (0, 2)], (2, 4))
    np.testing.assert_array_equal(merge_tiles(tiles, [(0, 0), (0, 2)], (2, 4)), expected)
    np.testing.assert_array_equal(merge_tiles(list(tiles), [(0, 0), (0, 2)], (2, 4)), expected)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([(0, 0)], "2 tiles and 1 positions: give one each"),
        ([(0, 0), (0, 3)], r"rows 0 to 2 and columns 3 to 5, outside of the map of \(4, 4\)"),
        ([(0, 0), (-1, 0)], "rows -1 to 1"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(positions, message):
    with pytest.raises(InvalidInput, match=message):
        merge_tiles(np.ones((2, 2, 2)), positions, (4, 4))


def test_tiles_of_other_axes_are_refused():
    with pytest.raises(InvalidInput, match=r"must all be \[3, 'h', 'w'\]; one is \[2, 2\]"):
        merge_tiles([np.ones((3, 2, 2)), np.ones((2, 2))], [(0, 0), (0, 0)], (4, 4))


def test_positions_that_can_not_be_are_refused():
    with pytest.raises(InvalidInput, match=r"tiles of \(5, 2\) do not fit into .* \(4, 4\)"):
        tile_positions((4, 4), (5, 2))
    with pytest.raises(InvalidInput, match=r"overlap lies in \[0, 1\); it is 1"):
        tile_positions((4, 4), (2, 2), overlap=1)
