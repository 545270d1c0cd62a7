"""The study on composed images, with networks whose evidence is known by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from relprop.data import Preprocessing
from studies import ground_truth

BRIGHT = {"lrp:epsilon": "lrp:epsilon", "gradient": "gradient", "random map": "random"}


class Bright(nn.Module):
    """Class 0 is the sum over the upper left square of 8 x 8 pixels, class 1 is nothing."""

    preprocessing = Preprocessing(size=(32, 32))

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * 32 * 32, 2)
        weight = torch.zeros(2, 3, 32, 32)
        weight[0, :, :8, :8] = share
        self.dense.weight = nn.Parameter(weight.flatten(1))
        self.dense.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.dense(x.flatten(1))


@pytest.fixture
def data():
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.1
    masks = torch.zeros(6, 32, 32, dtype=torch.bool)
    masks[:, :8, :8] = True
    return ground_truth.Composed(images, torch.zeros(6, dtype=torch.long), masks, 1.0)


def test_a_map_that_knows_has_all_inside_and_one_that_does_not_its_share(data):
    rows = {row.method: row for row in ground_truth.measure(Bright().eval(), data, BRIGHT)}
    for method in ("lrp:epsilon", "gradient"):
        assert rows[method].estimate("mass").value == pytest.approx(1)
        assert rows[method].estimate("rank").value == pytest.approx(1)
    chance = 8 * 8 / 32**2
    assert rows["random map"].estimate("mass").value == pytest.approx(chance, abs=0.05)
    assert [rows[name].question for name in BRIGHT] == ["attribution", "function", "baseline"]
    table = ground_truth.as_table(list(rows.values()), chance)
    assert len(table) == 2 + 3 + 1
    assert table[-2].startswith("| random map")
    assert "6.2%" in table[-1]
    left, right = ground_truth.draw(list(rows.values()), chance).axes
    assert [text.get_text() for text in left.get_yticklabels()][0] == "random map"
    assert right.get_xlabel() == "relevance rank accuracy (%)"


def test_images_without_positive_relevance_are_counted_apart(data):
    (row,) = ground_truth.measure(Bright(-1.0).eval(), data, {"gradient": "gradient"})
    assert row.without == 6
    (row,) = ground_truth.measure(Bright().eval(), data, {"gradient": "gradient"})
    assert row.record()["without_positive"] == 0


def test_what_is_measured_is_kept(data, tmp_path):
    calls = []

    def method(images, classes):
        calls.append(len(images))
        return images.sum(1)

    for _ in range(2):
        (row,) = ground_truth.measure(Bright().eval(), data, {"mine": method}, tmp_path)
    assert calls == [1, 6]
    assert row.record()["mass"] == pytest.approx(float(row.mass.mean()))


def test_only_images_on_which_the_network_is_right(monkeypatch):
    pixels = np.full((9, 3, 32, 32), 128, np.uint8)
    labels = np.array([0, 1, 0] * 3)
    monkeypatch.setattr(ground_truth, "cifar10", lambda part: (pixels, labels))
    found = ground_truth.composed_images(Bright().eval(), 3)
    assert found.classes.tolist() == [0, 0, 0]
    assert found.accuracy == pytest.approx(6 / 9)
    assert found.masks.double().mean() == pytest.approx((ground_truth.OBJECT / 32) ** 2)
    with pytest.raises(SystemExit, match="right on 6 of 9"):
        ground_truth.composed_images(Bright().eval(), 7)


def test_cam_is_named_with_its_reason():
    assert "pooling" in ground_truth.left_out()["cam"]
