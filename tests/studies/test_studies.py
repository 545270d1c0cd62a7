"""The thesis's experiments, at sizes that fit the default tests."""

import pytest
import torch

import relprop
from relprop import data, models
from studies import conservation, input_shift, right_reason

PLAIN = relprop.Epsilon(1e-9)


@pytest.fixture(scope="module")
def lenet():
    return models.load("lenet5").double()


@pytest.fixture(scope="module")
def digits(lenet):
    return torch.stack([lenet.preprocessing(d) for d in data.sample_digits()[0][:10]]).double()


def test_shifted_networks_compute_the_same_output(lenet, digits):
    """Thesis 2.3.3: otherwise their maps could not be compared."""
    other = input_shift.shifted(lenet)
    assert torch.allclose(lenet(digits), other(digits - input_shift.SHIFT), atol=1e-9)


def test_flat_gives_shifted_networks_the_same_maps(lenet, digits):
    """Figures 2.9 and 2.10."""
    assert input_shift.compare(lenet, digits, relprop.Flat()).difference <= 1e-5


def test_epsilon_gives_shifted_networks_different_maps_by_the_shift(lenet, digits):
    """R_x1 = R_x2 + R_mc (thesis 2.64)."""
    found = input_shift.compare(lenet, digits, PLAIN)
    assert found.difference > 0.1
    assert found.sum_rule_error <= 1e-5


def test_relevance_leaves_a_planted_corner():
    """Thesis 7.1, through differentiable=True."""
    before, after = right_reason.experiment(steps=50, tuning=50)
    assert before.corner > 0.3
    assert after.corner < 0.1
    assert after.accuracy > 0.9


@pytest.mark.parametrize("preset", relprop.presets())
def test_the_shipped_network_conserves_under_every_preset(preset, capsys):
    (row,) = conservation.measure("lenet5", *conservation.load("lenet5"), [preset])
    assert row.gap <= conservation.BOUND
    assert preset in capsys.readouterr().out


@pytest.mark.study
@pytest.mark.parametrize("name", models.names())
def test_every_network_conserves_under_every_preset(name):
    rows = conservation.measure(name, *conservation.load(name), list(relprop.presets()))
    assert max(row.gap for row in rows) <= conservation.BOUND
