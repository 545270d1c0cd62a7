"""The study of photographs, on a small network and two images of noise."""

import numpy as np
import pytest
import torch

from studies import photographs


@pytest.fixture
def found(monkeypatch, tmp_path):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(photographs, "images_of", lambda *_: images)
    return photographs.study("cifar10-vgg", 2, tmp_path, region=4, steps=2, per_step=2)


def test_every_method_under_every_fill(found):
    assert set(found.over_random) == set(photographs.FILLS)
    for by_method in found.over_random.values():
        assert set(by_method) == set(photographs.METHODS)
        assert all(each.low <= each.value <= each.high for each in by_method.values())
    assert len(photographs.as_table(found)) == 2 + len(photographs.METHODS)
    assert all(-1 <= value <= 1 for value in found.agreement().values())
    assert set(found.agreement()) == {("uniform", "blur"), ("uniform", "mean"), ("blur", "mean")}


def test_figures(found):
    results = {"one": found, "other": found}
    titles = [ax.get_title() for ax in photographs.draw_areas(results).axes]
    assert titles[0] == "one: uniform"
    assert len(titles) == 2 * len(photographs.FILLS)
    axes = photographs.draw_heatmaps(results, [1]).axes
    assert len(axes) == 2 * (1 + len(photographs.METHODS))
    shown = axes[1].images[0].get_array()
    assert shown.shape[:2] == (32, 32)
    assert np.ptp(shown) > 0


def test_photographs_that_all_networks_call_the_same(found):
    other = photographs.Found(found.pictures, ["nothing", found.predicted[1]], {}, {})
    assert photographs.agreed({"one": found, "other": other}) == [1]
