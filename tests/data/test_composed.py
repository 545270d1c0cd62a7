import numpy as np
import pytest

from relprop.data import composed, photograph
from relprop.errors import InvalidInput, UnknownName

pytest.importorskip("skimage")


@pytest.fixture
def things():
    """Twelve images, each of one colour that no grey texture has."""
    images = np.zeros((12, 3, 32, 32), np.uint8)
    images[:, 0] = np.arange(200, 212)[:, None, None]
    return images, np.arange(12) % 10


def test_the_mask_is_where_the_object_is(things):
    images, labels = things
    found, classes, masks = composed(images, labels, size=40, object_size=20)
    assert found.shape == (12, 3, 40, 40) and found.dtype == np.uint8
    assert masks.shape == (12, 40, 40) and masks.dtype == bool
    np.testing.assert_array_equal(classes, labels)
    coloured = found[:, 0] != found[:, 1]  # the textures are grey
    np.testing.assert_array_equal(coloured, masks)
    for image, mask, thing in zip(found, masks, images, strict=True):
        assert (image[0][mask] == thing[0, 0, 0]).all()
        rows, columns = np.nonzero(mask)
        assert np.ptp(rows) == np.ptp(columns) == 19 and mask.sum() == 400


def test_around_the_object_lies_a_piece_of_the_texture(things):
    found, _, masks = composed(*things, object_size=8, textures=["grass"])
    texture = photograph("grass")[..., 0]
    pieces = np.lib.stride_tricks.sliding_window_view(texture, (32, 32))
    for image, mask in zip(found, masks, strict=True):
        row, column = next(zip(*np.nonzero(~mask), strict=True))
        starts = np.nonzero(pieces[:, :, row, column] == image[1, row, column])
        candidates = pieces[starts]
        assert (candidates[:, ~mask] == image[1][~mask]).all(1).any()


def test_objects_of_their_own_size_are_pasted_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    found, _, masks = composed(images, np.zeros(3, int), size=48, object_size=32)
    for image, mask, thing in zip(found, masks, images, strict=True):
        np.testing.assert_array_equal(image[:, mask], thing.reshape(3, -1))


def test_scaling_down_keeps_the_mean_colour_and_does_not_alias():
    board = np.indices((32, 32)).sum(0) % 2 * 255
    images = np.broadcast_to(board, (1, 3, 32, 32)).astype(np.uint8)
    found, _, masks = composed(images, np.zeros(1, int), object_size=16)
    inside = found[0, 0][masks[0]].reshape(16, 16)[1:-1, 1:-1]
    assert (abs(inside.astype(int) - 127) <= 1).all()


def test_a_seed_decides_and_the_first_do_not_depend_on_the_rest(things):
    images, labels = things
    first, _, where = composed(images, labels, seed=3)
    again, _, there = composed(images[:5], labels[:5], seed=3)
    np.testing.assert_array_equal(first[:5], again)
    np.testing.assert_array_equal(where[:5], there)
    assert not np.array_equal(where, composed(images, labels, seed=4)[2])


def test_places_are_everywhere_and_have_nothing_to_do_with_the_class():
    images = np.zeros((2000, 3, 32, 32), np.uint8)
    labels = np.arange(2000) % 2
    found, _, masks = composed(images, labels, object_size=24)
    tops, lefts = masks.any(2).argmax(1), masks.any(1).argmax(1)
    for starts in (tops, lefts):
        assert sorted(set(starts.tolist())) == list(range(9))
        assert abs(starts[labels == 0].mean() - starts[labels == 1].mean()) < 0.5
    outside = np.where(masks, np.nan, found[:, 0].astype(float))
    means = np.nanmean(outside.reshape(2000, -1), 1)
    assert abs(means[labels == 0].mean() - means[labels == 1].mean()) < 0.2 * means.std()


def test_no_images_give_none(things):
    images, labels = things
    found, classes, masks = composed(images[:0], labels[:0])
    assert found.shape == (0, 3, 32, 32) and len(classes) == len(masks) == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": 513}, "size is 513; with these textures it must be 1 to 512"),
        ({"textures": ()}, "size is 32; with these textures it must be 1 to 0"),
        ({"object_size": 33}, "object_size is 33; it must be 1 to size, 32"),
        ({"object_size": 0}, "object_size is 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(things, change, message):
    with pytest.raises(InvalidInput, match=message):
        composed(*things, **change)


def test_arrays_that_do_not_fit_are_refused(things):
    images, labels = things
    with pytest.raises(InvalidInput, match=r"uint8 \[N, 3, H, H\], not float64 \[12, 3, 32, 32\]"):
        composed(images / 255, labels)
    with pytest.raises(InvalidInput, match=r"not uint8 \[12, 3, 32, 20\]"):
        composed(images[..., :20], labels)
    with pytest.raises(InvalidInput, match=r"12 images and labels \[11\]"):
        composed(images, labels[1:])


def test_an_unknown_texture_is_refused(things):
    with pytest.raises(UnknownName, match="unknown photograph 'moss'"):
        composed(*things, textures=["moss"])
