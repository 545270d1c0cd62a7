from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
import torch

from relprop.errors import InvalidInput, UnknownName
from relprop.viz import colours
from relprop.viz.colours import colour_map_names, colourise, register_colour_map

SHIPPED = ["seismic", "jet", "high-contrast", "blue-orange"]


@pytest.fixture
def own_maps() -> Iterator[None]:
    before = dict(colours._MAPS)
    yield
    colours._MAPS.clear()
    colours._MAPS.update(before)


def test_shipped_maps_are_listed():
    assert colour_map_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_any_shape_becomes_colours(name):
    values = np.linspace(-1, 1, 24).reshape(2, 3, 4)
    found = colourise(values, name)
    assert found.shape == (2, 3, 4, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(colourise(torch.from_numpy(values), name), found)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 24
    assert colourise(np.zeros((0, 4)), name).shape == (0, 4, 3)


def test_the_ends_and_the_middle():
    points = [-1.0, 0.0, 1.0]
    assert colourise(points).tolist() == [[0, 0, 76], [255, 255, 255], [128, 0, 0]]
    assert colourise(points, "high-contrast").tolist() == [[0, 255, 255], [0] * 3, [255] * 3]
    assert colourise([0.25, 0.5, -0.5], "high-contrast").tolist() == [
        [255, 0, 0],
        [255, 255, 0],
        [0, 0, 255],
    ]


@pytest.mark.parametrize(("name", "worst"), [("seismic", 1), ("jet", 45)])
def test_namesakes_look_like_matplotlibs(name, worst):
    """Compared at the 256 colours that theirs have; jet's knots are rounded to quarters here."""
    values = np.linspace(-1, 1, 256)
    theirs = matplotlib.colormaps[name]((values + 1) / 2)[:, :3] * 255
    assert np.abs(theirs - colourise(values, name)).max() <= worst


# Linear RGB as seen without red cones, and without green ones (Vienot, Brettel, Mollon 1999).
BLINDNESS = {
    "protanopia": [[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.0040, -0.0040, 1]],
    "deuteranopia": [[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]],
}


def seen(rgb, kind):
    linear = (rgb / 255.0) ** 2.2
    return (linear @ np.array(BLINDNESS[kind]).T).clip(0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_signs_differ_in_hue_for_the_colour_blind(kind):
    """Blue less yellow, all that is left of hue, has opposite signs on the two sides."""
    strength = np.linspace(0.2, 1, 9)
    hues = [
        np.diff(seen(colourise(sign * strength, "blue-orange"), kind)[:, 1:])[:, 0]
        for sign in (1, -1)
    ]
    assert (hues[0] < -0.1).all() and (hues[1] > 0.1).all()


def test_blue_orange_darkens_alike_on_both_sides():
    light = [
        colourise(sign * np.linspace(0, 1, 41), "blue-orange") @ [0.2126, 0.7152, 0.0722]
        for sign in (1, -1)
    ]
    assert (np.diff(light[0]) < 0).all() and (np.diff(light[1]) < 0).all()
    assert np.abs(light[0] - light[1]).max() < 20


def test_values_outside_are_refused():
    with pytest.raises(InvalidInput, match=r"reaches 2. Scale it first: relprop.viz.scale"):
        colourise([0.5, -2.0])
    with pytest.raises(InvalidInput, match="reaches nan"):
        colourise([0.5, np.nan])


def test_an_unknown_map_is_refused():
    message = "unknown colour map 'hot'; there are: blue-orange, high-contrast, jet, seismic"
    with pytest.raises(UnknownName, match=message):
        colourise([0.0], "hot")


@pytest.mark.usefixtures("own_maps")
def test_own_maps():
    register_colour_map("greys", [[0.0, 0, 0], [1, 1, 1]])
    assert colourise([-1.0, 0.0, 1.0], "greys").tolist() == [[0] * 3, [128] * 3, [255] * 3]
    register_colour_map("greys", np.array([[0, 0, 0], [9, 9, 9]], np.uint8))
    assert colourise([1.0], "greys").tolist() == [[9, 9, 9]]
    register_colour_map("reds", lambda h: np.stack([abs(h), 0 * h, 0 * h], -1))
    assert colourise([[-0.2]], "reds").tolist() == [[[51, 0, 0]]]
    assert colour_map_names() == [*SHIPPED, "greys", "reds"]


@pytest.mark.usefixtures("own_maps")
@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("jet", [[0.0, 0, 0], [1, 1, 1]], "ships with relprop; take another name"),
        ("mine", [[0.0, 0, 0]], r"must be \[L, 3\] with L of 2 or more .*; it is \[1, 3\]"),
        ("mine", np.ones((9, 4)), r"it is \[9, 4\]"),
        ("mine", [[0, 0, 0], [255, 255, 255]], "must be floats in 0..1 or uint8; they are int64"),
        ("mine", [[0.0, 0, 0], [255, 255, 255]], "from 0.0 to 255.0"),
        ("mine", matplotlib.colormaps["PuOr"], r"into \[3, 5, 3\] colours; it returned \[3, 5, 4"),
        ("mine", lambda h: np.stack([h, h, h], -1), "from -1.0 to 1.0"),
    ],
)
def test_maps_that_can_not_be_are_refused(name, given, message):
    with pytest.raises(InvalidInput, match=message):
        register_colour_map(name, given)
    assert colour_map_names() == SHIPPED
