"""Operations that the user adds, and handlers that are wrong: the ledger must show it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.propagation import (
    Activation,
    Convolution,
    Dense,
    FunctionMap,
    Linear,
    Term,
    register_operation,
)  # fmt: skip
from relprop.propagation.operations import registry
from tests.reference import rules as slow
from tests.reference.flatten import flatten
from tests.reference.measure import difference, gap
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


@pytest.fixture(autouse=True)
def own_table(monkeypatch):
    """Registrations of a test end with it."""
    monkeypatch.setattr(registry, "HANDLERS", registry.HANDLERS)
    kept = dict(registry.HANDLERS)
    yield
    registry.HANDLERS.clear()
    registry.HANDLERS.update(kept)


def running_sum(factor=1.0):
    def handler(operation):
        x, axis = operation.args[:2]

        def transposed(s):
            return factor * s.flip(axis).cumsum(axis).flip(axis)

        return Linear([Term(x, FunctionMap(lambda t: t.cumsum(axis), transposed))], kind="merge")

    return handler


@pytest.mark.parametrize(
    ("rule", "reference", "options"),
    [
        (relprop.Epsilon(0.1), slow.epsilon, {"epsilon": 0.1}),
        (relprop.AlphaBeta(2, -1), slow.alpha_beta, {}),
        (relprop.Gamma(), slow.gamma, {}),
        (relprop.Flat(), slow.flat, {}),
    ],
    ids=["epsilon", "alpha-beta", "gamma", "flat"],
)
def test_an_operation_of_the_users_takes_every_rule(rule, reference, options):
    register_operation(torch.ops.aten.cumsum.default)(running_sum())
    x, weights = torch.randn(2, 5).double(), torch.randn(2, 5).double()
    model = Call(lambda v: v.cumsum(1))
    explanation = relprop.explain(model, x, weights, rules=rule)
    W, b = flatten(model, [(5,)])
    start = weights * x.cumsum(1)
    wanted = torch.stack([slow.share(reference, *row, **options)[0] for row in (
        (x[n], W, b, start[n]) for n in range(2)
    )])  # fmt: skip
    assert difference(explanation.relevance, wanted) <= 1e-9
    assert gap(explanation, start.sum(1)) <= 1e-10


def test_a_later_registration_replaces_an_earlier_one():
    x = torch.randn(2, 5).double()
    model = Call(lambda v: torch.tanh(v) @ torch.ones(5, 3).double())
    wanted = relprop.explain(model, x, 1).relevance
    register_operation(torch.ops.aten.tanh.default)(lambda operation: Activation(operation.args[0]))
    assert torch.equal(relprop.explain(model, x, 1).relevance, wanted)


def test_what_is_no_operation_cannot_be_registered():
    with pytest.raises(TypeError, match="aten"):
        register_operation("aten.cumsum")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.body = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.relu(self.body(x)) + x
        return self.head(x.mean((2, 3)))


RULES = (
    "epsilon", "alpha2beta1", "alpha1beta0", "thesis", "epsilon-gamma-flat", relprop.Flat(),
    relprop.Magnitude(), relprop.Epsilon(0.1, bias="distribute"),
)  # fmt: skip


def remainder(explanation):
    """The largest remainder of a row, of what this row received."""
    return max(
        (row.remainder.abs() / row.received.abs().clamp(min=1e-9)).max().item()
        for row in explanation.ledger.rows
    )


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("corrupted", [Dense, Convolution], ids=lambda kind: kind.__name__)
def test_a_handler_corrupted_on_purpose_leaves_a_remainder(monkeypatch, corrupted, rules):
    """Every figure has its own formula, so that nothing can be booked as absorbed."""
    model, x = Net().double().eval(), torch.randn(2, 2, 6, 6).double()
    honest = relprop.explain(model, x, 1, rules=rules)
    assert remainder(honest) <= 1e-9
    assert gap(honest, honest.output[:, 1]) <= 1e-10
    transpose = corrupted.transpose
    monkeypatch.setattr(corrupted, "transpose", lambda *args: 1.01 * transpose(*args))
    wrong = relprop.explain(model, x, 1, rules=rules)
    assert remainder(wrong) >= 1e-4
    assert gap(wrong, wrong.output[:, 1]) >= 1e-4
    kinds = {"Dense": ("head",), "Convolution": ("conv", "body")}[corrupted.__name__]
    for row in wrong.ledger.rows:
        share = (row.remainder.abs() / row.received.abs().clamp(min=1e-9)).max().item()
        assert (share >= 1e-4) == (row.module in kinds), row.module


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.0, -1.0])
def test_a_wrong_transpose_of_the_users_leaves_a_remainder(factor):
    register_operation(torch.ops.aten.cumsum.default)(running_sum(factor))
    model = Call(lambda v: v.cumsum(1) @ torch.ones(5, 3).double())
    explanation = relprop.explain(model, torch.rand(2, 5).double(), 1, rules="epsilon")
    assert remainder(explanation) >= 0.05
    assert (explanation.ledger.totals()["remainder"].abs() > 0.05).all()


def test_relevance_sent_where_nobody_takes_it_is_missing_not_absorbed():
    """A handler that names its own output as its source: relevance must not vanish in a column."""
    register_operation(torch.ops.aten.tanh.default)(lambda operation: Activation(operation.output))
    model = Call(lambda v: torch.tanh(v) @ torch.ones(5, 3).double() + v[:, :3])
    x = torch.rand(2, 5).double()
    try:
        explanation = relprop.explain(model, x, 1, rules="epsilon")
    except relprop.errors.RelpropError:
        return
    assert (explanation.ledger.totals()["remainder"].abs() > 0.01).all()
