import numpy as np
import pytest
from PIL import Image

from relprop.app.images import preprocessing_from, read_image
from relprop.data import Preprocessing
from relprop.errors import InvalidInput, UnknownName
from relprop.models import LeNet5


def test_photographs_are_turned_as_the_camera_was(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = read_image(tmp_path / "a.png")
    assert found.shape == (6, 4, 3) and (found[:, -1] == 255).all()


def test_transparent_and_grey_files_become_rgb(tmp_path):
    for mode in ("L", "LA", "RGBA", "P", "1"):
        Image.new(mode, (3, 2)).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png").shape == (2, 3, 3)


def test_options_go_over_the_models_own():
    own = LeNet5.preprocessing
    assert preprocessing_from(LeNet5()) == own
    changed = preprocessing_from(LeNet5(), options={"mean": [0.25], "std": None})
    assert changed.mean == (0.25,) and changed.std == own.std and changed.size == own.size


def test_without_a_mean_none_is_subtracted():
    grey = preprocessing_from(object(), options={"size": [8, 9], "channel_order": "L"})
    assert grey == Preprocessing(size=(8, 9), channel_order="L", mean=(0.0,), std=(1.0,))
    colour = preprocessing_from(object(), options={"size": [8, 9]})
    assert colour == Preprocessing(size=(8, 9))


def test_a_file_takes_the_place_of_the_models_own(tmp_path):
    path = tmp_path / "how.yaml"
    path.write_text("size: [16, 16]\nscale: 255\n")
    assert preprocessing_from(LeNet5(), file=path) == Preprocessing(size=(16, 16), scale=255)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("- 1\n", InvalidInput, "must hold options such as size"),
        ("a: [1\n", InvalidInput, "is not YAML"),
        ("!!python/object/apply:os.getcwd []\n", InvalidInput, "is not YAML"),
        ("size: [8, 8]\nmeen: [1, 1, 1]\n", UnknownName, "unknown preprocessing option 'meen'"),
    ],
)
def test_files_that_can_not_be(tmp_path, content, kind, message):
    path = tmp_path / "how.yaml"
    path.write_text(content)
    with pytest.raises(kind, match=message):
        preprocessing_from(object(), file=path)
