"""The study of `relprop tune`, at a size that fits the default tests."""

import pytest
import torch
from PIL import Image

from relprop import data
from studies import tune


@pytest.fixture
def digits(monkeypatch):
    """The packaged digits in place of the test images."""

    def read(names, model, limit):
        assert names == ["mnist"]
        images, _ = data.sample_digits()
        return torch.stack([model.preprocessing(image) for image in images[:limit]])

    monkeypatch.setattr(tune, "read_data", read)


@pytest.mark.usefixtures("digits")
def test_a_network_is_tuned_and_what_came_of_it_is_drawn(tmp_path):
    settings = {"region": 8, "steps": 3, "starts": 1, "rounds": 1, "progress": False}
    result = tune.tuned("lenet5", images=12, held_back=6, out=tmp_path, **settings)
    assert result.searched == result.held_back == 6
    rows = tune.table({"lenet5": result})
    assert list(rows["fill"]) == ["uniform", "blur", "mean", "mean"]
    assert rows["gain"][2] == result.gain.value == pytest.approx(rows["gain"][:2].mean())
    assert rows["over"][2] == "default (thesis)" and rows["gain"][3] == result.over_shipped.value
    assert (rows["low"] <= rows["gain"]).all() and (rows["gain"] <= rows["high"]).all()
    tune.draw(rows, tmp_path / "figure.png")
    assert min(Image.open(tmp_path / "figure.png").size) > 150
