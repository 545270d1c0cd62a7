"""Sums of branches under rules with two signs: single precision against double."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference.measure import difference

SUMS = {
    "one signed": lambda a, b: F.relu(a) + b,
    "one signed, first": lambda a, b: a + F.relu(b),
    "both signed": lambda a, b: a + b,
    "none signed": lambda a, b: F.relu(a) + F.relu(b),
    "a difference": lambda a, b: F.relu(a) - b,
    "less what is positive": lambda a, b: b - F.relu(a),
    "scaled": lambda a, b: torch.add(F.relu(a), b, alpha=0.5),
    "the same twice": lambda a, b: a + a,
    "broadcast": lambda a, b: F.relu(a) + b.mean((2, 3), keepdim=True),
    "three": lambda a, b: F.relu(a) + b + F.relu(b),
    "a constant": lambda a, b: F.relu(a) + b + 0.1,
    "in place": lambda a, b: F.relu(a).add_(b),
}


class Sum(nn.Module):
    """Two convolutions, their sum, and a layer on top; one channel of each branch is dead."""

    def __init__(self, join, after) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.top, self.join, self.after = nn.Linear(8 * 16, 4), join, after
        with torch.no_grad():
            for branch, channel in ((self.one, 2), (self.two, 2), (self.two, 5)):
                branch.weight[channel] = 0
                branch.bias[channel] = 0

    def forward(self, x):
        return self.top(self.after(self.join(self.one(x), self.two(x))).flatten(1))


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize("after", [F.relu, torch.tanh, lambda x: x], ids=["relu", "tanh", "none"])
@pytest.mark.parametrize("rule", ["alpha2beta1", "alpha1beta0", "epsilon", "epsilon-gamma-flat"])
@pytest.mark.parametrize("how", SUMS)
def test_against_double_precision(how, rule, after) -> None:
    torch.manual_seed(3)
    model = Sum(SUMS[how], after).eval().requires_grad_(False)
    x = torch.randn(3, 3, 4, 4)
    rules = relprop.AlphaBeta(2, -1) if rule == "alpha2beta1" else rule
    wanted = relprop.explain(copy.deepcopy(model).double(), x.double(), 1, rules=rules)
    explainer = relprop.Explainer(model, rules)
    for _ in range(3):
        found = explainer(x, 1)
        assert difference(found.relevance, wanted.relevance) <= 1e-4
        assert found.conservation_gap.max() <= 1e-5
    lost = wanted.totals()["lost"]
    assert torch.allclose(found.totals()["lost"].double(), lost, rtol=1e-4, atol=1e-5)
