"""Excitation backpropagation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import relprop
from tests.laws.networks import batches, laws, networks
from tests.methods.twins import WAYS, images, twin
from tests.reference.measure import difference

METHOD = "excitation-backprop"


@laws(25)
@given(networks(), batches(), st.integers(0, 2))
def test_it_is_zplus_without_biases_up_to_the_start(model, x, target):
    """LRP starts at f(x), excitation backpropagation at 1."""
    found = relprop.explain(model, x, target, method=METHOD)
    start = 1 / found.output[:, target]
    weights = torch.zeros_like(found.output)
    weights[:, target] = start
    zplus = relprop.explain(model, x, weights, rules=relprop.ZPlus(bias="ignore"))
    assert torch.allclose(found.relevance, zplus.relevance, rtol=1e-9, atol=1e-12)


def probabilities(layers, x, target):
    """Equation 1 of the paper, layer by layer, for activations that are not negative."""
    activations = [x]
    for weight, bias in layers[:-1]:
        activations.append((activations[-1] @ weight.T + bias).relu())
    wins = torch.zeros(len(x), len(layers[-1][0])).double()
    wins[:, target] = 1
    for (weight, _), activation in zip(reversed(layers), reversed(activations), strict=True):
        excites = activation[:, None, :] * weight.clamp(min=0)  # [N, j, i]
        total = excites.sum(2, keepdim=True)
        wins = (torch.where(total > 0, excites / total, 0.0) * wins[:, :, None]).sum(1)
    return wins


def test_it_is_the_papers_equation():
    torch.manual_seed(0)
    dense = [nn.Linear(6, 8).double(), nn.Linear(8, 7).double(), nn.Linear(7, 3).double()]
    model = nn.Sequential(dense[0], nn.ReLU(), dense[1], nn.ReLU(), dense[2])
    x = torch.rand(4, 6).double()
    found = relprop.explain(model, x, 1, method=METHOD)
    layers = [(layer.weight.detach(), layer.bias.detach()) for layer in dense]
    assert torch.allclose(found.relevance, probabilities(layers, x, 1))
    assert found.preset == "ZPlus(bias=ignore)"


def test_probability_is_conserved():
    found = relprop.explain(twin(), images().abs(), 2, method=METHOD)
    totals = found.totals()
    assert torch.allclose(totals["received"], torch.ones(3).double())
    assert torch.allclose(
        found.relevance.flatten(1).sum(1) + totals["lost"], torch.ones(3).double()
    )
    assert found.relevance.min() >= 0
    assert found.conservation_gap.max() <= 1e-12


@pytest.mark.parametrize("way", WAYS)
def test_the_way_a_model_is_written_does_not_matter(way):
    x = images()
    found = relprop.explain(twin(way), x, 2, method=METHOD).relevance
    assert difference(found, relprop.explain(twin(), x, 2, method=METHOD).relevance) <= 1e-12


def test_the_callers_weights_are_not_written_over():
    weights = torch.rand(3, 5).double()
    kept = weights.clone()
    found = relprop.explain(twin(), images(), weights, method=METHOD)
    assert torch.equal(weights, kept)
    assert torch.allclose(found.totals()["received"], weights.sum(1))
