import numpy as np
import pytest
from scipy import sparse

from relprop.classical import Boxes, Masks
from relprop.errors import InvalidInput

from . import slow

DRAWN = np.random.default_rng(0)
SHAPE = (17, 23)


def boxes(count, least=1):
    low = DRAWN.integers(0, [12, 16], size=(count, 2))
    return np.concatenate([low, low + DRAWN.integers(least, 9, size=(count, 2))], 1)


@pytest.mark.parametrize("count", [1, 40])
def test_boxes_equal_loops(count):
    own, values = boxes(count), DRAWN.standard_normal(count)
    own[0] = (-3, -2, 40, 50)  # sticks out on all sides
    found = Boxes(own, SHAPE).to_pixels(values)
    np.testing.assert_allclose(found, slow.spread_boxes(own, values, SHAPE), atol=1e-14)
    assert found.sum() == pytest.approx(values.sum(), rel=1e-12)


def test_parts_equal_loops():
    """Components to the 3 x 2 parts of their box, also where it sticks out."""
    grid, rest = (3, 2), 4
    low = DRAWN.integers(-1, [8, 12], size=(20, 2))
    own = np.concatenate([low, low + [9, 8]], 1)
    values = DRAWN.standard_normal((20, 6 * rest))
    expected = np.zeros(SHAPE)
    for (top, left, _, _), components in zip(own, values, strict=True):
        for i in range(3):
            for j in range(2):
                y, x = top + 3 * i, left + 4 * j
                at = (i * 2 + j) * rest
                share = components[at : at + rest].sum()
                expected += slow.spread_boxes([(y, x, y + 3, x + 4)], [share], SHAPE)
    found = Boxes(own, SHAPE, grid).to_pixels(values)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    whole = Boxes(own, SHAPE).to_pixels(values)
    np.testing.assert_allclose(whole, Boxes(own, SHAPE).to_pixels(values.sum(1)), atol=1e-13)


def test_sides_that_do_not_divide_are_rounded():
    areas = Boxes(np.array([[0, 0, 5, 7]]), SHAPE, (4, 4))
    found = areas.to_pixels(np.ones((1, 16)))
    assert found.sum() == pytest.approx(16)
    assert (found[:5, :7] > 0).all()
    assert found[5:].sum() == pytest.approx(0, abs=1e-12)


def test_a_large_map_keeps_the_sum():
    """69,000 boxes of both signs: rounding of the running sums stays below 1e-10."""
    low = DRAWN.integers(0, [320, 440], size=(69_000, 2))
    own = np.concatenate([low, low + 40], 1)
    values = DRAWN.standard_normal(69_000)
    found = Boxes(own, (360, 480)).to_pixels(values)
    assert abs(found.sum() - values.sum()) < 1e-10 * np.abs(values).sum()


def test_masks_equal_loops():
    pixels = DRAWN.random((6, 17 * 23)) * (DRAWN.random((6, 17 * 23)) < 0.2)
    values = DRAWN.standard_normal((6, 3))
    areas = Masks(sparse.csr_array(pixels), SHAPE)
    expected = sum(
        own.sum() * mask.reshape(SHAPE) / mask.sum()
        for own, mask in zip(values, pixels, strict=True)
    )
    np.testing.assert_allclose(areas.to_pixels(values), expected, atol=1e-14)
    rows, columns = np.indices(SHAPE)
    middle = [
        (rows.ravel() @ mask / mask.sum(), columns.ravel() @ mask / mask.sum()) for mask in pixels
    ]
    np.testing.assert_allclose(areas.centres, middle)
    assert len(areas) == 6


def test_rotated_squares():
    """Pixels whose centre, turned back, lies within half a side; a right angle changes nothing."""
    centres, sides = [(8, 11.5), (3, 4), (15, 20)], [9, 6, 8]
    angles = [0.5, -0.9, 2.1]
    found = Masks.squares(centres, sides, angles, SHAPE)
    for row, ((cy, cx), side, angle) in enumerate(zip(centres, sides, angles, strict=True)):
        expected = np.zeros(SHAPE, dtype=bool)
        turn = np.exp(-1j * angle)
        for y in range(SHAPE[0]):
            for x in range(SHAPE[1]):
                back = complex(x - cx, y - cy) * turn
                expected[y, x] = max(abs(back.real), abs(back.imag)) <= side / 2
        mask = found.pixels[[row]].toarray().reshape(SHAPE)
        np.testing.assert_array_equal(mask > 0, expected)
    upright = Masks.squares(centres, sides, [0, 0, 0], SHAPE).pixels.toarray()
    turned = Masks.squares(centres, sides, [np.pi / 2] * 3, SHAPE).pixels.toarray()
    np.testing.assert_allclose(upright, turned)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Boxes(np.zeros((2, 3), dtype=int), SHAPE), r"integers \[N, 4\]"),
        (lambda: Boxes(np.zeros((2, 4)), SHAPE), r"these are float64"),
        (lambda: Boxes(np.array([[0, 30, 4, 40]]), SHAPE), r"no pixel within the image"),
        (
            lambda: Boxes(np.array([[0, 0, 4, 4]]), SHAPE, (2, 2)).to_pixels(np.ones((1, 7))),
            "7 components do not divide into 2 x 2",
        ),
        (
            lambda: Boxes(np.array([[-8, 0, 4, 4]]), SHAPE, (2, 2)).to_pixels(np.ones((1, 4))),
            "a part of a box has no pixel",
        ),
        (lambda: Masks(np.ones((1, 3)), SHAPE), "masks of 3 pixels"),
        (lambda: Masks.squares([(99, 99)], [3], [0], SHAPE), "an area has no pixel"),
    ],
)
def test_what_does_not_fit(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()
