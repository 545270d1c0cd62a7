"""The study of region sizes, on two images of noise."""

import pytest
import torch

from relprop import models
from relprop.comparing import heatmaps_by
from relprop.evaluation import region_perturbation
from studies import region_sizes

RUN = region_sizes.Run("cifar10-vgg", 2, (4, 8, 9, 16), 4, 2, 8)


@pytest.fixture
def images(monkeypatch):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(region_sizes, "images_of", lambda *_: images)
    return images


def test_areas_are_over_those_of_sensitivity(images, tmp_path):
    found = region_sizes.compare("cifar10", RUN, tmp_path)
    assert set(found) == {
        (side, method)
        for side in RUN.sides
        for method in (*region_sizes.METHODS, region_sizes.RANDOM)
    }
    model = models.load("cifar10-vgg")
    with torch.no_grad():
        classes = model(images).argmax(1)
    curves = [
        region_perturbation(
            *(model, images, heatmaps_by(model, method)(images, classes)),
            **{"region": 8, "steps": 2, "per_step": 2, "repeats": 1},
        )
        for method in ("lrp:thesis", "sensitivity")
    ]
    wanted = curves[0].over(curves[1])
    assert found[8, "lrp:thesis"].value == pytest.approx(wanted.value, rel=1e-3, abs=1e-4)
    again = region_sizes.compare("cifar10", RUN, tmp_path)
    assert [each.value for each in again.values()] == [each.value for each in found.values()]

    assert len(region_sizes.records("cifar10", found)) == len(found)
    table = region_sizes.as_table(found)
    assert table[0] == "| method | side 4 | side 8 | side 9 | side 16 |"
    assert len(table) == 2 + len(region_sizes.METHODS) + 1


def test_a_panel_for_each_side(images, monkeypatch):
    monkeypatch.setattr(region_sizes, "RUNS", {"cifar10": RUN})
    axes = region_sizes.draw({"cifar10": region_sizes.compare("cifar10", RUN)}).axes
    assert [ax.get_title() for ax in axes] == [f"cifar10: side {side}" for side in RUN.sides]


def test_photographs_fit_the_network():
    model = models.load("squeezenet", pretrained=False)
    assert region_sizes.images_of("photographs", model, 2).shape == (2, 3, 227, 227)
