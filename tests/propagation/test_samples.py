"""Samples stay apart: figures and scales are per sample, wherever the axis of samples has gone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference.measure import difference, gap
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
RULES = (
    relprop.Epsilon(0.3, relative=True), relprop.AlphaBeta(2, -1), relprop.Gamma(0.25),
    "epsilon-gamma-flat",
)  # fmt: skip


@pytest.fixture
def layers():
    return nn.Linear(6, 6).double(), nn.Linear(6, 3).double()


@pytest.fixture
def x():
    """Four samples of 5 x 6 whose scales differ: a scale over the batch would show."""
    return torch.randn(4, 5, 6).double() * torch.tensor([1.0, 100.0, 0.01, 3.0])[:, None, None]


def plain(first, second, v):
    return second(F.relu(first(v))).mean(1)


def second_axis(first, second, v):
    return second(F.relu(first(v.permute(1, 0, 2)))).permute(1, 0, 2).mean(1)


def last_axis(first, second, v):
    hidden = F.relu(first(v)).permute(1, 2, 0).permute(2, 0, 1)
    return second(hidden).mean(1)


def folded(first, second, v):
    return second(F.relu(first(v.reshape(-1, 6)))).reshape(len(v), -1, 3).mean(1)


def folded_behind(first, second, v):
    rows = v.transpose(0, 1).reshape(-1, 6)
    return second(F.relu(first(rows))).reshape(-1, len(v), 3).mean(0)


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("moved", [second_axis, last_axis, folded, folded_behind])
def test_moving_the_axis_of_samples_changes_nothing(layers, x, moved, rules):
    wanted = relprop.explain(Call(lambda v: plain(*layers, v)), x, 1, rules=rules)
    found = relprop.explain(Call(lambda v: moved(*layers, v)), x, 1, rules=rules)
    assert difference(found.relevance, wanted.relevance) <= 1e-9
    for column, amount in wanted.ledger.totals().items():
        assert torch.allclose(found.ledger.totals()[column], amount, atol=1e-9), column
    assert gap(found, found.output[:, 1]) <= 1e-10


class Windows(nn.Module):
    """Swin's way: windows become samples, and samples again."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(6, 3)

    def forward(self, v):
        n = len(v)
        w = v.reshape(n, 5, 2, 3).permute(0, 2, 1, 3).reshape(n * 2, 5, 3)
        w = F.relu(self.inner(w)).reshape(n, 2, 5, 3).permute(0, 2, 1, 3).reshape(n, 5, 6)
        return self.head(w).mean(1)


class Mirrored(nn.Module):
    """Test-time augmentation inside the model: the batch is doubled and averaged."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, v):
        left, right = self.head(torch.cat([v, v.flip(-1)])).chunk(2)
        return (left + right) / 2


class Reversed(nn.Module):
    """The batch backwards and forwards again."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(30, 3)

    def forward(self, v):
        return self.head(v.flip(0).flatten(1)).roll(1, 0).roll(-1, 0).flip(0)


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("kind", [Windows, Mirrored, Reversed])
def test_a_batch_equals_its_samples_where_samples_are_split_or_doubled(x, kind, rules):
    model = kind().double()
    whole = relprop.explain(model, x, 1, rules=rules)
    assert gap(whole, whole.output[:, 1]) <= 1e-10
    for n in range(4):
        single = relprop.explain(model, x[n : n + 1], 1, rules=rules)
        assert difference(whole.relevance[n : n + 1], single.relevance) <= 1e-9
        for column in ("bias", "stabiliser", "lost"):
            amounts = whole.ledger.totals()[column][n], single.ledger.totals()[column][0]
            assert torch.isclose(*amounts, rtol=1e-8, atol=1e-9), column


@pytest.mark.parametrize(
    "mix",
    [
        lambda v: v - v.mean(0),
        lambda v: v.softmax(0),
        lambda v: (v @ v.T) @ torch.ones(4, 6).double(),
        lambda v: v + v.roll(1, 0),
        lambda v: v.amax(0, keepdim=True) + v,
        lambda v: F.layer_norm(v, v.shape),
    ],
    ids=["mean", "softmax", "gram matrix", "neighbour", "largest", "norm"],
)
def test_operations_that_mix_samples_are_refused(mix):
    """A map of sample n would hold relevance of the outputs of others."""
    x, weight = torch.randn(4, 6).double(), torch.randn(6, 3).double()
    with pytest.raises(relprop.errors.RelpropError, match=r"(?i)sample"):
        relprop.explain(Call(lambda v: mix(v) @ weight), x, 1)
