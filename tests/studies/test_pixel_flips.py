import pytest
import torch

from relprop import models
from relprop.data import sample_digits
from studies import pixel_flips


def test_flips_in_the_order_of_relevance_take_the_digit_away():
    model = models.load("lenet5")
    signs = torch.stack([model.preprocessing(d) for d in sample_digits()[0]])
    found = pixel_flips.curves(model, torch.where(signs > 0, 1.0, -1.0), without={"deconvolution"})
    assert "deconvolution" not in found
    rows = {
        label: pixel_flips.row("lenet5", label, curve, found["random"])
        for label, curve in found.items()
        if label != "random"
    }
    assert rows["lrp Epsilon(0.01)"]["low"] > rows["random map"]["high"]
    assert rows["lrp:thesis, no Flat"]["low"] > rows["lrp:thesis"]["high"]
    assert found["sensitivity"].scores.shape == (5, 20, 11)


def test_missing_weights_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_flips, "TRAINED", tmp_path)
    with pytest.raises(SystemExit, match="python -m studies.train_mnist mlp-relu"):
        pixel_flips.network("mlp-relu")
