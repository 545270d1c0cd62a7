"""Activations pass relevance on as it is (thesis 2.37)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference.measure import difference, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

ACTIVATIONS = {
    "relu": F.relu,
    "relu in place": nn.ReLU(inplace=True),
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu tanh": nn.GELU(approximate="tanh"),
    "silu": F.silu,
    "silu in place": nn.SiLU(inplace=True),
    "mish": F.mish,
    "softplus": F.softplus,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_max": lambda x: x.clamp(max=1.0),
    "prelu": nn.PReLU(),
    "rrelu": nn.RReLU(),
    "dropout": nn.Dropout(0.5),
    "alpha dropout": nn.AlphaDropout(0.5),
    "functional dropout": lambda x: F.dropout(x, 0.5, training=False),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_pass_relevance_on(name):
    function = ACTIVATIONS[name]
    # What follows keeps the activation from ending the model.
    model = nn.Sequential(function if isinstance(function, nn.Module) else Call(function))
    model.append(nn.Linear(6, 4, bias=False)).double().eval()
    x = torch.randn(3, 6).double()
    with torch.no_grad():
        weights, _ = starting_at(model(x.clone()))
    explanation = relprop.explain(model, x, weights, rules=relprop.Epsilon(0), layers=["0"])
    assert difference(explanation.relevance, explanation.layers["0"]) == 0
    hidden = model[0](x.clone())
    wanted = hidden * (weights @ model[1].weight)
    assert difference(explanation.relevance, wanted.detach()) <= 1e-12
