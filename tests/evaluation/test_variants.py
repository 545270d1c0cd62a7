import io

import numpy as np
import pytest
import torch

from relprop.data import Preprocessing
from relprop.errors import InvalidInput, InvalidTarget, UnknownName
from relprop.evaluation import SQUARES, compare_inputs, make_square

WIDE = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
TALL = WIDE.transpose(1, 0, 2).copy()
EVEN = np.full((4, 4, 3), 7, np.uint8)


@pytest.mark.parametrize("how", [how for how in SQUARES if how != "crop"])
@pytest.mark.parametrize(
    "image", [WIDE, TALL, WIDE[..., 0], TALL[..., 0]], ids=lambda i: str(i.shape)
)
def test_the_image_stands_in_the_middle(how, image):
    found = make_square(image, how)
    assert found.shape == (5, 5, *image.shape[2:]) and found.dtype == np.uint8
    middle = (slice(1, 3), slice(None)) if image.shape[0] == 2 else (slice(None), slice(1, 3))
    np.testing.assert_array_equal(found[middle], image)


def test_what_is_added_to_a_wide_image():
    copied, mirrored = make_square(WIDE, "copy"), make_square(WIDE, "mirror")
    for row, expected in [(0, 0), (3, 1), (4, 1)]:
        np.testing.assert_array_equal(copied[row], WIDE[expected])
    for row, expected in [(0, 0), (3, 1), (4, 0)]:
        np.testing.assert_array_equal(mirrored[row], WIDE[expected])
    assert (make_square(WIDE, "colour", colour=(1, 2, 3))[[0, 3, 4]] == (1, 2, 3)).all()
    one = make_square(WIDE, "random-colour", seed=5)[[0, 3, 4]]
    assert (one == one[0, 0]).all()
    assert (one != make_square(WIDE, "random-colour", seed=6)[[0, 3, 4]]).any()
    pixels = make_square(WIDE, "random-pixels", seed=5)[[0, 3, 4]]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 15
    np.testing.assert_array_equal(pixels, make_square(WIDE, "random-pixels", seed=5)[[0, 3, 4]])


def test_a_crop_is_of_the_middle():
    np.testing.assert_array_equal(make_square(WIDE, "crop"), WIDE[:, 1:3])
    np.testing.assert_array_equal(make_square(TALL, "crop"), TALL[1:3])


@pytest.mark.parametrize("how", SQUARES)
def test_a_square_stays(how):
    np.testing.assert_array_equal(make_square(EVEN, how), EVEN)


def test_a_very_long_image_is_mirrored_again_and_again():
    strip = np.array([[1], [2], [3]], np.uint8).repeat(1, axis=1)
    long = np.array([[1, 2, 3, 4, 5, 6, 7]], np.uint8)
    assert (make_square(long, "mirror") == long).all()
    assert make_square(strip, "mirror").shape == (3, 3)


def test_what_is_no_image_or_no_way():
    with pytest.raises(
        UnknownName, match="unknown way to make an image square 'stretch'; there are"
    ):
        make_square(WIDE, "stretch")
    with pytest.raises(InvalidInput, match=r"not float64 \[2, 5, 3\]"):
        make_square(WIDE / 255, "copy")
    with pytest.raises(InvalidInput, match="three numbers in 0..255"):
        make_square(WIDE, "colour", colour=(0, 0, 300))


# Comparing inputs


class Brightness(torch.nn.Module):
    """Two classes: how bright the image's edge is, and minus that."""

    preprocessing = Preprocessing(size=(8, 8), resize="stretch", interpolation="nearest")

    def forward(self, images):
        edge = torch.cat([images[..., 0, :], images[..., -1, :]], -1).mean((1, 2))
        return torch.stack([edge, -edge], 1)


def photographs():
    drawn = np.random.default_rng(0)
    shapes = [(20, 40), (40, 20), (30, 30), (22, 40), (24, 40)]
    return [drawn.integers(100, 130, (*shape, 3), dtype=np.uint8) for shape in shapes]


def test_the_border_s_colour_is_seen_by_orientation():
    """The model looks at upper and lower edge: a black border there is seen in wide images only."""
    found = compare_inputs(
        Brightness(),
        photographs(),
        {"black": lambda image: make_square(image, "colour", colour=(0, 0, 0)), "same": np.copy},
        target=0,
    )
    assert found.orientation == ("landscape", "portrait", "square", "landscape", "landscape")
    assert found.groups == ("all", "landscape", "portrait", "square")
    assert found.change("black", "landscape").high < -0.4
    assert found.change("black", "square").value == 0
    assert abs(found.change("black", "portrait").value) > 0.2
    assert found.change("same").interval == (0, 0)
    table = found.to_frame()
    assert len(table) == 2 * 4
    row = table[(table["variant"] == "black") & (table["orientation"] == "landscape")].iloc[0]
    assert row["images"] == 3 and row["raised"] == 0
    assert row["output"] == pytest.approx(0, abs=1e-6)
    unchanged = float(found.unchanged[[0, 3, 4]].double().mean())
    assert row["change"] == pytest.approx(row["output"] - unchanged)


def test_the_six_ways_by_name_are_seeded_and_drawn():
    model, images = Brightness(), photographs()
    found, again = (compare_inputs(model, images, target=0) for _ in range(2))
    assert tuple(found.scores) == SQUARES
    for how in SQUARES:
        assert torch.equal(found.scores[how], again.scores[how])
    other = compare_inputs(model, images, ["random-colour"], target=0, seed=1)
    assert not torch.equal(other.scores["random-colour"], found.scores["random-colour"])
    colours = found.scores["random-colour"][[0, 3, 4]]
    assert len(colours.unique()) == 3, "each image has a colour of its own"
    figure = found.figure()
    figure.savefig(io.BytesIO(), format="png")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == list(SQUARES)
    assert len(ax.patches) == 3 * 6
    heights = [bar.get_height() for bar in ax.patches[:6]]
    assert heights == [pytest.approx(found.change(how, "landscape").value) for how in SQUARES]


def test_batches_targets_and_outputs():
    model, images = Brightness(), photographs()
    found = compare_inputs(model, images, ["copy"], batch_size=2, output="probability")
    whole = compare_inputs(model, images, ["copy"], output="probability")
    torch.testing.assert_close(found.scores["copy"], whole.scores["copy"])
    assert found.target.tolist() == [0] * 5
    assert ((found.unchanged > 0.5) & (found.unchanged < 1)).all()
    own = compare_inputs(
        lambda inputs: inputs.flatten(1).sum(1, keepdim=True),
        images,
        ["crop"],
        prepare=lambda image: torch.tensor([float(image.max())]).view(1, 1, 1),
    )
    assert own.unchanged.tolist() == [float(image.max()) for image in images]


def test_comparisons_that_do_not_work():
    with pytest.raises(InvalidInput, match="no preprocessing; give prepare"):
        compare_inputs(lambda x: x, photographs())
    with pytest.raises(InvalidInput, match="there are 0 images and 6 variants"):
        compare_inputs(Brightness(), [])
    with pytest.raises(InvalidInput, match="5 images and 0 variants"):
        compare_inputs(Brightness(), photographs(), {})
    with pytest.raises(InvalidTarget, match="classes lie in"):
        compare_inputs(Brightness(), photographs(), target=2)
    with pytest.raises(UnknownName, match="'stretch'"):
        compare_inputs(Brightness(), photographs(), ["stretch"])
    found = compare_inputs(Brightness(), photographs()[:1], ["copy"])
    with pytest.raises(InvalidInput, match=r"variants are \['copy'\], groups are \['all', 'land"):
        found.change("mirror")
