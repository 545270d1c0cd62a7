"""`relprop tune` from end to end, on the digits' network and a folder of images."""

import pytest

import relprop
from relprop import data, viz

SETTINGS = ("--region", 8, "--steps", 3, "--fills", "uniform,blur", "--starts", 1, "--rounds", 1)


@pytest.fixture
def digits(tmp_path):
    """A folder of digits, as image files."""
    folder = tmp_path / "digits"
    images, _ = data.sample_digits()
    for number, image in enumerate(images[:8]):
        viz.save_png(image[..., None].repeat(3, 2), folder / f"{number:02d}.png")
    return folder


def test_the_file_that_is_written_is_used(relprop_command, digits):
    ended = relprop_command(
        *("tune", "--model", "lenet5", "--data", digits, "--out", "mine.json", *SETTINGS)
    )
    assert ended.code == 0, ended.err
    assert "montavon2019" in ended.out and "upper convolutions" in ended.out
    assert "on 4 images held back" in ended.out and "found less default, in pairs" in ended.out
    assert "--rules mine.json" in ended.out
    preset = relprop.Preset.load("mine.json")
    assert f"wrote mine.json ({preset.name})" in ended.out
    beaten = "mine beats the default, thesis" in ended.out
    assert preset.name == ("mine" if beaten else "thesis")
    explained = relprop_command(
        *("explain", "--model", "lenet5", "--rules", "mine.json", "--image", digits / "00.png")
    )
    assert f"preset {preset.name}, " in explained.out


def test_what_is_refused(relprop_command, digits):
    common = ("tune", "--model", "lenet5", "--data", digits, *SETTINGS)
    assert "name a preset file" in relprop_command(*common, "--out", "folder").err
    taken = relprop_command(*common, "--out", "thesis.json").err
    assert "a preset called thesis ships with relprop" in taken
    assert "held_back=9.0" in relprop_command(*common, "--held-back", 9).err
    assert "unknown fill" in relprop_command(*common[:-8], "--fills", "nonsense").err
