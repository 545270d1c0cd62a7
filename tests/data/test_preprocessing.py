import numpy as np
import pytest
import torch
from PIL import Image

from relprop.data import Preprocessing
from relprop.errors import InvalidInput, UnknownName

BGR = Preprocessing(
    size=(6, 6), channel_order="BGR", scale=255, mean=(103.9, 116.8, 123.7), std=(1.0, 2.0, 4.0)
)
GREY = Preprocessing(size=(8, 8), pad=2, channel_order="L", mean=(0.5,), std=(0.5,))


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("preprocessing", [BGR, GREY, Preprocessing(size=(5, 7), crop=0.875)])
def test_a_dictionary_and_yaml_give_it_back(preprocessing):
    yaml = pytest.importorskip("yaml")
    stored = yaml.safe_load(yaml.safe_dump(preprocessing.to_dict()))
    assert Preprocessing.from_dict(stored) == preprocessing


@pytest.mark.parametrize("preprocessing", [BGR, GREY, Preprocessing(size=(6, 6))])
def test_black_and_white_give_low_and_high(preprocessing):
    size = tuple(side - 2 * preprocessing.pad for side in preprocessing.size)
    inner = slice(preprocessing.pad, preprocessing.size[0] - preprocessing.pad)
    for value, bound in ((0, preprocessing.low), (255, preprocessing.high)):
        seen = preprocessing(np.full((*size, 3), value, np.uint8))[:, inner, inner]
        expected = torch.tensor(bound)[:, None, None].expand_as(seen)
        torch.testing.assert_close(seen, expected)


def test_channels_are_ordered_and_scaled_as_said():
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[..., 0] = 200  # red
    blue, green, red = BGR(pixels)[:, 0, 0].tolist()
    assert red == pytest.approx((200 - 123.7) / 4)
    assert (blue, green) == pytest.approx((-103.9, -116.8 / 2))


def test_padding_is_background_and_not_mid_grey():
    seen = GREY(np.full((4, 4), 255, np.uint8))
    assert seen.shape == (1, 8, 8) and seen.dtype == torch.float32
    assert seen.sum() == 16 - (64 - 16)  # 16 white pixels inside a black border


@pytest.mark.parametrize("height, width", [(40, 60), (60, 40), (33, 33), (7, 200), (5, 5)])
def test_crop_keeps_the_centre_and_the_aspect_ratio(height, width):
    ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :], (height, width))
    seen = Preprocessing(size=(20, 20), crop=0.5).display(ramp)
    assert seen.shape == (20, 20, 3)
    # The middle of the image stays in the middle: the ramp's mean is its middle value.
    assert abs(seen.mean() - 127) < 4 + 255 / width


def test_stretch_shows_the_whole_image_and_none_refuses():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 15:] = 255
    seen = Preprocessing(size=(6, 6), resize="stretch", interpolation="nearest").display(pixels)
    assert (seen[:, :3] == 0).all() and (seen[:, 3:] == 255).all()
    with pytest.raises(InvalidInput, match="the image is 10 x 30, the network takes 6 x 6"):
        Preprocessing(size=(6, 6), resize="none")(pixels)


def test_arrays_grey_images_and_pil_images_agree():
    pixels = image(9, 6)
    preprocessing = Preprocessing(size=(6, 6))
    torch.testing.assert_close(preprocessing(Image.fromarray(pixels)), preprocessing(pixels))
    grey = pixels[..., 0]
    torch.testing.assert_close(
        preprocessing(grey), preprocessing(np.repeat(grey[..., None], 3, axis=2))
    )
    ours, pils = GREY.display(pixels[:4, :4]), GREY.display(Image.fromarray(pixels[:4, :4]))
    assert np.abs(ours.astype(int) - pils).max() <= 1  # PIL rounds in fixed point


def test_display_is_what_the_network_sees():
    seen, shown = BGR(image(9, 12)), BGR.display(image(9, 12))
    back = seen.numpy() * np.array(BGR.std)[:, None, None] + np.array(BGR.mean)[:, None, None]
    np.testing.assert_allclose(back[::-1].transpose(1, 2, 0), shown, atol=1e-3)


@pytest.mark.parametrize(
    "pixels", [image(6, 6) / 255, np.zeros((6, 6, 4), np.uint8), np.zeros((0, 6), np.uint8), [1]]
)
def test_other_arrays_are_refused(pixels):
    with pytest.raises(InvalidInput, match=r"uint8 \[H, W, 3\] or \[H, W\] or a PIL image"):
        BGR(pixels)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": [6]}, "size is"),
        ({"size": [6, 6.5]}, "size is"),
        ({"size": [6, 6], "pad": 3}, "larger than twice the padding"),
        ({"pad": -1}, "pad is -1"),
        ({"pad": "much"}, "pad is 'much'"),
        ({"crop": 0}, "crop is 0"),
        ({"fill": 300}, "fill is 300"),
        ({"mean": [0.5]}, "3 numbers, one for each channel"),
        ({"std": [1, 1, 0]}, "positive numbers"),
        ({"std": [1, 1, float("nan")]}, "std is"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(InvalidInput, match=message):
        Preprocessing.from_dict({"size": [6, 6]} | change)


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "squash"},
        {"channel_order": "GBR"},
        {"scale": 2},
        {"interpolation": "x"},
        {"a": 1},
    ],
)
def test_unknown_choices_are_listed(change):
    with pytest.raises(UnknownName, match="unknown .*; there are: "):
        Preprocessing.from_dict({"size": [6, 6]} | change)


def test_the_size_must_be_given():
    with pytest.raises(InvalidInput, match=r"size: \[height, width\]"):
        Preprocessing.from_dict({"pad": 1})
