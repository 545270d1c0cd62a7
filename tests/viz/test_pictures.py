import builtins
import io

import numpy as np
import pytest
import torch
from PIL import Image

from relprop import viz
from relprop.errors import InvalidInput, RelpropError, UnknownName
from relprop.viz import pillow

GREY = np.full((2, 3), 100, np.uint8)
RAMP = np.array([[0.0, 1.0, -1.0], [0.5, 0.0, -0.5]])


def test_every_pixel_becomes_a_square():
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = viz.enlarge(picture, 4)
    assert found.shape == (8, 12)
    np.testing.assert_array_equal(found[::4, ::4], picture)
    np.testing.assert_array_equal(found[3::4, 3::4], picture)
    for factor in (0, 1.5):
        with pytest.raises(InvalidInput, match="whole number, 1 or more"):
            viz.enlarge(picture, factor)


def test_overlay_shows_the_image_where_there_is_no_relevance():
    found = viz.overlay(torch.from_numpy(RAMP), GREY)
    assert found[0].tolist() == [[100, 100, 100], [128, 0, 0], [0, 0, 76]]
    assert found[1, 1].tolist() == [100, 100, 100]
    assert viz.overlay(RAMP, GREY, opacity=0.0).min() == 100
    assert viz.overlay(RAMP, Image.fromarray(GREY)).tolist() == found.tolist()


def test_colours_of_an_image_do_not_mix_with_those_of_relevance():
    image = np.zeros((1, 1, 3), np.uint8)
    image[..., 0] = 255
    assert viz.overlay([[0.0]], image).tolist() == [[[76, 76, 76]]]


def test_relevance_as_alpha_channel():
    for sign, alpha in [
        ("positive", [[0, 255, 0], [128, 0, 0]]),
        ("negative", [[0, 0, 255], [0, 0, 128]]),
        ("both", [[0, 255, 255], [128, 0, 128]]),
    ]:
        found = viz.as_alpha(RAMP, GREY, sign=sign)
        assert found[..., 3].tolist() == alpha and (found[..., :3] == 100).all()
    black = viz.on_background(viz.as_alpha(RAMP, GREY))
    assert black[..., 0].tolist() == [[0, 100, 0], [50, 0, 0]]
    white = viz.on_background(viz.as_alpha(RAMP, GREY), (255, 255, 255))
    assert white[0, :2, 0].tolist() == [255, 100]
    with pytest.raises(UnknownName, match="unknown sign 'plus'; there are: both, negative, pos"):
        viz.as_alpha(RAMP, GREY, sign="plus")


@pytest.mark.parametrize(
    ("heatmap", "image", "message"),
    [
        (RAMP, GREY[:1], r"heatmap is \[2, 3\] and the image \[1, 3\]; .*display\(image\)"),
        (RAMP, np.ones((2, 3)), r"must be uint8 .* not float64 \[2, 3\]"),
        (RAMP, np.ones((3, 2, 3, 1), np.uint8), r"not uint8 \[3, 2, 3, 1\]"),
        (3 * RAMP, GREY, "reaches 3. Scale it first"),
    ],
)
def test_what_does_not_match_is_refused(heatmap, image, message):
    for combine in (viz.overlay, viz.as_alpha):
        with pytest.raises(InvalidInput, match=message):
            combine(heatmap, image)


def test_opacity_out_of_range_is_refused():
    with pytest.raises(InvalidInput, match="opacity lies in 0..1; it is 2"):
        viz.overlay(RAMP, GREY, opacity=2)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_png_files_hold_the_picture(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = viz.save_png(picture, tmp_path / "new" / "folder" / "a.png")
    assert path == tmp_path / "new" / "folder" / "a.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(viz.png(picture)))), picture)


def test_what_is_no_png_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"not float64 \[2, 3\]; relprop.viz.colourise"):
        viz.save_png(RAMP, tmp_path / "a.png")
    with pytest.raises(InvalidInput, match=r"not uint8 \[2, 3, 2\]"):
        viz.png(np.zeros((2, 3, 2), np.uint8))
    with pytest.raises(InvalidInput, match="a.jpg does not end in .png"):
        viz.save_png(GREY, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_without_pillow_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(RelpropError, match=r"pip install 'relprop\[viz\]'"):
        viz.png(GREY)


def test_long_labels_are_cut_to_their_width():
    assert pillow.shortened("cat", size=14, width=100) == "cat"
    cut = pillow.shortened("a very long name of a class", size=14, width=100)
    assert cut.startswith("a very") and cut.endswith("...")
    assert pillow.text_width(cut, size=14) <= 100
    assert pillow.text_width("", size=14) == 0
