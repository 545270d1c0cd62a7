"""The study of model randomisation, at a size that fits the default tests."""

import json

import pytest
import torch

from relprop import data, models
from studies import randomisation
from studies.randomisation import EDGES, NOISE_MAP, Setting

SMALL = Setting(images=3, smooth_images=2, samples=2)


@pytest.fixture(scope="module")
def lenet():
    return models.load("lenet5")


@pytest.fixture(scope="module")
def digits(lenet):
    return torch.stack([lenet.preprocessing(d) for d in data.sample_digits()[0][:3]])


@pytest.mark.parametrize("label", ["lrp:thesis", "grad-cam", "sensitivity"])
def test_a_method_has_its_figures(lenet, digits, label):
    explain = randomisation.explainers()[label]
    found = randomisation.measure("lenet5", lenet, digits, explain, SMALL)
    row = randomisation.row_of("lenet5", label, found)
    for name in randomisation.FIGURES:
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"], name
    assert found["up"].similarity.shape == (4, 3)
    assert found["smooth_up"].similarity.shape == (4, 2)
    assert found["down"].layers == found["up"].layers[::-1]


def test_every_method_has_a_map(lenet, digits):
    for explain in randomisation.explainers().values():
        assert explain(lenet, digits, torch.tensor([0, 0, 1])).shape == (3, 32, 32)


def test_baselines_are_at_the_ends_of_the_scale(lenet, digits):
    rows = {}
    for label in (EDGES, NOISE_MAP):
        explain = randomisation.explainers()[label]
        found = randomisation.measure("lenet5", lenet, digits, explain, SMALL)
        rows[label] = randomisation.row_of("lenet5", label, found)
    assert rows[EDGES]["up"] == pytest.approx(1) and rows[EDGES]["rise"] == pytest.approx(0)
    assert abs(rows[NOISE_MAP]["up"]) < 0.1 and abs(rows[NOISE_MAP]["smooth_down"]) < 0.1


def test_layers_begin_as_in_training():
    layer = torch.nn.Conv2d(8, 64, 3)
    randomisation.he(layer)
    assert float(layer.weight.detach().std()) == pytest.approx((2 / 72) ** 0.5, rel=0.1)
    assert not layer.bias.any()


def test_it_goes_on_where_it_was_and_writes(tmp_path, monkeypatch, lenet, digits, capsys):
    monkeypatch.setattr(randomisation, "METHODS", {"sensitivity": "sensitivity"})
    monkeypatch.setattr(randomisation, "read_data", lambda names, model, limit: digits[:limit])
    rows = randomisation.run(SMALL, tmp_path, {"lenet5": "mnist"})
    assert [row["method"] for row in rows] == ["sensitivity", EDGES, NOISE_MAP]
    piece = tmp_path / "pieces" / "lenet5-sensitivity.json"
    kept = json.loads(piece.read_text())
    kept["row"]["up"] = 7.0
    piece.write_text(json.dumps(kept))
    assert randomisation.run(SMALL, tmp_path, {"lenet5": "mnist"})[0]["up"] == 7
    other = Setting(images=2, smooth_images=2, samples=1)
    assert randomisation.run(other, tmp_path, {"lenet5": "mnist"})[0]["up"] < 1
    randomisation.write(rows, tmp_path)
    assert (tmp_path / "table.csv").read_text().count("\n") == 4
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "lenet5" in capsys.readouterr().out


def test_agreement_is_of_sensitivity_to_the_model():
    rows = [
        {"network": "n", "method": name}
        | {"up": value, "down": -value, "smooth_up": value, "smooth_down": value, "rise": -value}
        for name, value in (("lrp:thesis", 0.1), ("deeplift", 0.5), (EDGES, 1.0))
    ]
    found = randomisation.agreement(rows, "n")["up"]
    assert found == pytest.approx(
        {"up": 1, "down": -1, "smooth_up": 1, "smooth_down": 1, "rise": 1}
    )
