import numpy as np
import pytest

from relprop import viz
from relprop.errors import InvalidInput

MAPS = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 5))
IMAGES = [np.full((4, 5), 50 + i, np.uint8) for i in range(2)]


def test_maps_stand_in_rows_and_columns_unchanged():
    """Without labels: gaps of four pixels, every map enlarged by 16 / 5, rounded to 3."""
    found = viz.montage(MAPS, images=IMAGES, side=16)
    assert found.shape == (4 + 2 * (12 + 4), 4 + 4 * (15 + 4), 3)
    for i in range(2):
        top = 4 + i * 16
        assert (found[top : top + 12, 4:19] == 50 + i).all()
        for j in range(3):
            left = 4 + (j + 1) * 19
            expected = viz.enlarge(viz.colourise(MAPS[i, j]), 3)
            np.testing.assert_array_equal(found[top : top + 12, left : left + 15], expected)
    gaps = np.delete(found, np.r_[4:16, 20:32], axis=0)
    assert (gaps == 255).all()


def test_one_map_a_sample():
    single = viz.montage(MAPS[:, 0], colour_map="jet", side=4)
    np.testing.assert_array_equal(single, viz.montage(MAPS[:, :1], colour_map="jet", side=4))


def test_labels_get_room_of_their_own():
    plain = viz.montage(MAPS, images=IMAGES)
    labelled = viz.montage(
        MAPS, images=IMAGES, row_labels=["first", "second"], column_labels=["a", "b", "c"]
    )
    height, width = plain.shape[:2]
    np.testing.assert_array_equal(labelled[-height + 4 :, -width + 4 :], plain[4:, 4:])
    assert (labelled[:, : -width + 4] < 128).any() and (labelled[: -height + 4] < 128).any()
    other = viz.montage(
        MAPS, images=IMAGES, row_labels=["first", "third"], column_labels=["a", "b", "c"]
    )
    assert other.shape != labelled.shape or (other != labelled).any()


def test_a_label_wider_than_its_column_stays_in_it():
    long = viz.montage(MAPS[:1, :2], column_labels=["x" * 200, "y"])
    short = viz.montage(MAPS[:1, :2], column_labels=["", "y"])
    assert long.shape == short.shape
    middle = long.shape[1] // 2
    np.testing.assert_array_equal(long[:, middle:], short[:, middle:])


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (MAPS[0, 0], {}, r"must be \[N, H, W\] or \[N, K, H, W\], not \[4, 5\]"),
        (MAPS[:0], {}, "not .0, 3, 4, 5"),
        (MAPS, {"images": IMAGES[:1]}, "2 samples and 1 images: give one each"),
        (MAPS, {"row_labels": ["a"]}, "there are 2 rows and 1 row labels"),
        (MAPS, {"column_labels": ["a"]}, "there are 3 columns and 1 column labels"),
        (MAPS, {"images": [i[:, :4] for i in IMAGES]}, "pictures of one size, found"),
    ],
)
def test_what_does_not_match_is_refused(maps, options, message):
    with pytest.raises(InvalidInput, match=message):
        viz.montage(maps, **options)


def test_rows_of_a_grid_have_one_length():
    tile = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(InvalidInput, match=r"rows of one length, found \[1, 2\]"):
        viz.grid([[tile], [tile, tile]])
