"""The walk: its ledger accounts for everything, and what deserves a look is warned about."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import RelpropWarning
from tests.reference import rules
from tests.reference.flatten import flatten
from tests.reference.measure import difference, gap

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

COLUMNS = ("received", "passed", "bias", "stabiliser", "lost", "remainder")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.body, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        nn.init.normal_(self.norm.bias)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 2)
        x = F.relu(self.body(x)) + x
        return self.head(F.avg_pool2d(x, 4).flatten(1))


@pytest.fixture
def model():
    return Net().double().eval()


@pytest.fixture
def x():
    return torch.randn(3, 2, 8, 8).double()


def test_rows_balance_and_add_up_to_the_totals(model, x):
    explanation = relprop.explain(model, x, 1, rules="epsilon")
    rows = list(explanation.ledger.rows)
    modules = [row.module for row in rows]
    assert {"stem", "body", "head"} <= set(modules)
    for row in rows:
        for column in COLUMNS:
            assert getattr(row, column).shape == (3,), (row.module, column)
        balance = row.received - row.passed - row.bias - row.stabiliser - row.lost
        assert torch.allclose(balance, row.remainder, atol=1e-12)
        assert (row.remainder.abs() <= 1e-10 * row.received.abs().clamp(min=1)).all(), row
    totals = explanation.ledger.totals()
    for column in ("bias", "stabiliser", "lost", "remainder"):
        added = sum(getattr(row, column) for row in rows)
        assert torch.allclose(totals[column], added, atol=1e-12), column
    assert torch.allclose(explanation.bias, totals["bias"])
    assert gap(explanation, explanation.output[:, 1]) <= 1e-12


def test_one_row_by_hand():
    model = nn.Sequential(nn.Linear(4, 3)).double().requires_grad_(False)
    x = torch.randn(2, 4).double()
    explanation = relprop.explain(model, x, 2, rules=relprop.Epsilon(0.1))
    (row,) = [row for row in explanation.ledger.rows if row.module == "0"]
    assert "Epsilon" in str(row.rule)
    W, b = flatten(model, [(4,)])
    for n in range(2):
        R = torch.zeros(3).double()
        R[2] = model(x)[n, 2]
        passed, bias, stabiliser, lost = rules.share(rules.epsilon, x[n], W, b, R, epsilon=0.1)
        assert torch.isclose(row.received[n], R.sum())
        assert torch.isclose(row.passed[n], passed.sum())
        assert torch.isclose(row.bias[n], bias)
        assert torch.isclose(row.stabiliser[n], stabiliser)
        assert row.lost[n] == lost == 0


def test_alpha_beta_loses_the_share_of_a_side_that_is_empty():
    """All contributions are positive: beta's share has nowhere to go, unless it is given back."""
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.constant_(model.weight, 0.5)
    x = torch.tensor([[1.0, 2.0, 3.0]]).double()
    explanation = relprop.explain(model, x, 0, rules=relprop.AlphaBeta(2, -1))
    assert torch.allclose(explanation.relevance, x)  # twice x w
    assert torch.allclose(explanation.ledger.totals()["lost"], torch.tensor([-3.0]).double())
    whole = relprop.explain(model, x, 0, rules=relprop.AlphaBeta(2, -1, redistribute=True))
    assert torch.allclose(whole.relevance, x / 2)
    assert whole.ledger.totals()["lost"].abs().max() == 0


def test_bias_distributed_conserves_down_to_the_input(x):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)).double()
    rule = relprop.Epsilon(0, bias="distribute")
    explanation = relprop.explain(model, x, 1, rules=rule)
    assert torch.allclose(explanation.relevance.flatten(1).sum(1), explanation.output[:, 1])
    assert explanation.bias.abs().max() <= 1e-12


def test_distributed_bias_reaches_the_inputs_of_neurons_at_zero():
    """Under bias="distribute" an input of zero has relevance, and so does what lies before it."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        model[0].bias.copy_(torch.tensor([0.5, -0.25]))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0]]))
        model[2].bias.fill_(2.0)
    x = torch.tensor([[1.0, 3.0]]).double()
    # Hidden: 4.5 and 0 (z = -4.25). Output 6.5, of which 2 is bias: 1 to each hidden neuron.
    rule = relprop.Epsilon(0, bias="distribute")
    explanation = relprop.explain(model, x, 0, rules=rule, layers=["0", "1"])
    assert torch.allclose(explanation.layers["1"], torch.tensor([[5.5, 1.0]]).double())
    first = torch.tensor([1.0, 3.0]) / 4.5 * 5.5 + 0.5 / 4.5 * 5.5 / 2
    second = torch.tensor([-1.0, -3.0]) / -4.25 + (-0.25 / -4.25) / 2
    assert torch.allclose(explanation.relevance, (first + second)[None].double())


def test_figures_per_output(model, x):
    explanation = relprop.explain(model, x, "all", rules="epsilon")
    for column, amount in explanation.ledger.totals().items():
        assert amount.shape == (3, 3), column
    single = relprop.explain(model, x, 2, rules="epsilon")
    assert torch.allclose(explanation.ledger.totals()["bias"][:, 2], single.ledger.totals()["bias"])


def test_as_a_table(model, x):
    pytest.importorskip("pandas")
    explanation = relprop.explain(model, x, 1)
    frame = explanation.ledger.to_frame()
    assert {"module", "operation", "rule", *COLUMNS} <= set(frame.columns)


def test_alpha_beta_from_a_negative_output_warns():
    """Thesis 5.4.1, fig. 5.1: the sign of the map comes out wrong."""
    model = nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [-1.0, -2.0, 0.5]]))
    x = torch.ones(1, 3).double()
    for rule in (relprop.AlphaBeta(2, -1), relprop.ZPlus()):
        with pytest.warns(RelpropWarning, match="negative"):
            relprop.explain(model, x, 1, rules=rule)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        relprop.explain(model, x, 1, rules=relprop.Epsilon())
        relprop.explain(model, -x, 1, rules=relprop.AlphaBeta(2, -1))


def test_absorbing_nearly_everything_warns():
    model = nn.Linear(3, 2).double()
    nn.init.constant_(model.bias, 100.0)
    with pytest.warns(RelpropWarning, match=r"absorb|90"):
        relprop.explain(model, torch.rand(1, 3).double(), 1, rules=relprop.Epsilon())


def test_signs_at_a_negative_logit():
    """Figure 5.1: Epsilon in the head keeps the sign; what speaks against the class is negative."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, -3.0], [-1.0, 3.0]]))
    model, x = model.double(), torch.tensor([[1.0, 1.0]]).double()
    right = relprop.explain(model, x, 0, rules=relprop.Epsilon(0)).relevance
    assert torch.allclose(right, torch.tensor([[1.0, -3.0]]).double())
    with pytest.warns(RelpropWarning):
        wrong = relprop.explain(model, x, 0, rules=relprop.AlphaBeta(2, -1)).relevance
    assert torch.allclose(wrong, torch.tensor([[-8.0, 4.0]]).double())


@pytest.mark.parametrize("rules", ["epsilon", "thesis", "alpha2beta1", "epsilon-gamma-flat"])
def test_relevance_has_the_derivative_by_every_weight(rules):
    """Against finite differences: a weight stands in the forward pass and in the shares."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)
    ).double()
    x = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    against = torch.randn(2, 1, 3, 3, dtype=torch.float64)

    def summed():
        explanation = relprop.explain(model, x, 1, rules=rules, differentiable=True)
        return (explanation.relevance * against).sum()

    summed().backward()
    for parameter in model.parameters():
        slopes, step = parameter.grad.flatten().tolist(), 1e-6
        for place, slope in enumerate(slopes):
            found = []
            for change in (step, -step):
                with torch.no_grad():
                    parameter.view(-1)[place] += change
                found.append(summed().item())
                with torch.no_grad():
                    parameter.view(-1)[place] -= change
            wanted = (found[0] - found[1]) / (2 * step)
            assert slope == pytest.approx(wanted, rel=1e-4, abs=1e-6)


class Copied(nn.Module):
    """What is copied into memory that waits for it."""

    def forward(self, x):
        waiting = torch.zeros_like(x)
        waiting.copy_(x)
        return waiting


@pytest.mark.parametrize("between", [nn.ReLU(), Copied()])
def test_relevance_can_be_trained_against(between):
    """differentiable=True: the derivative of relevance by a weight, against finite differences."""
    model, x = nn.Sequential(nn.Linear(3, 4), between, nn.Linear(4, 2)), torch.randn(2, 3)
    model, x = model.double(), x.double()

    def corner():
        explanation = relprop.explain(model, x, 1, rules=relprop.Epsilon(0.01), differentiable=True)
        return explanation.relevance[:, 0].square().sum()

    corner().backward()
    slope = model[0].weight.grad[1, 2].item()
    step = 1e-6
    with torch.no_grad():
        model[0].weight[1, 2] += step
        above = corner().item()
        model[0].weight[1, 2] -= 2 * step
        below = corner().item()
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-9)
    assert (
        difference(
            relprop.explain(
                model, x, 1, rules=relprop.Epsilon(0.01), differentiable=True
            ).relevance.detach(),
            relprop.explain(model, x, 1, rules=relprop.Epsilon(0.01)).relevance,
        )
        <= 1e-12
    )
