"""Max pooling to the winner, p-norm pooling by powers; linear pooling is in test_rules."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference import operations as slow
from tests.reference.measure import difference, gap, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

EXACT = 1e-12


def agree(model, x, wanted, rules=None):
    """The engine's relevance equals ``wanted(R)`` where relevance starts at R."""
    with torch.no_grad():
        weights, start = starting_at(model(x))
    explanation = relprop.explain(model, x, weights, rules=rules)
    assert difference(explanation.relevance, wanted(start)) <= EXACT
    assert gap(explanation, start.flatten(1).sum(1)) <= EXACT


def tied(*shape):
    """Small whole numbers, so that windows have several winners; none is zero."""
    return torch.randint(1, 4, shape).double()


MAX_POOLS = {
    "1d": (nn.MaxPool1d(2), (2, 2, 7), {"kernel": 2, "stride": 2}),
    "1d padded": (
        nn.MaxPool1d(3, 2, padding=1), (2, 2, 7), {"kernel": 3, "stride": 2, "padding": 1}
    ),
    "1d dilated": (
        nn.MaxPool1d(2, 1, dilation=3), (2, 2, 8), {"kernel": 2, "stride": 1, "dilation": 3}
    ),
    "2d": (nn.MaxPool2d(2), (2, 2, 6, 5), {"kernel": 2, "stride": 2}),
    "2d overlapping": (nn.MaxPool2d(3, 2), (2, 2, 7, 6), {"kernel": 3, "stride": 2}),
    "2d ceil": (
        nn.MaxPool2d(3, 2, ceil_mode=True), (2, 2, 6, 8), {"kernel": 3, "stride": 2, "ceil": True}
    ),
    "2d padded": (
        nn.MaxPool2d(3, 2, padding=1), (2, 2, 6, 5), {"kernel": 3, "stride": 2, "padding": 1}
    ),
    "2d padded ceil": (
        nn.MaxPool2d(2, 3, padding=1, ceil_mode=True),
        (2, 1, 6, 5),
        {"kernel": 2, "stride": 3, "padding": 1, "ceil": True},
    ),
    "2d dilated": (
        nn.MaxPool2d(2, 2, dilation=2), (2, 2, 6, 6), {"kernel": 2, "stride": 2, "dilation": 2}
    ),
    "2d by a call": (
        Call(lambda x: F.max_pool2d(x, 2, return_indices=False)),
        (2, 2, 4, 4),
        {"kernel": 2, "stride": 2},
    ),
    "3d": (nn.MaxPool3d(2), (1, 2, 4, 4, 4), {"kernel": 2, "stride": 2}),
    "3d padded": (
        nn.MaxPool3d(3, 2, padding=1), (1, 1, 4, 4, 3), {"kernel": 3, "stride": 2, "padding": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize("values", [lambda *s: torch.randn(*s).double(), tied])
@pytest.mark.parametrize("name", MAX_POOLS)
def test_max_pooling_goes_to_the_winner_and_ties_share(name, values):
    model, shape, options = MAX_POOLS[name]
    x = values(*shape)
    axes = [slow.windows(size, **options) for size in shape[2:]]
    agree(model, x, lambda R: slow.pool(x, R, axes, slow.winners))


@pytest.mark.parametrize("rules", [relprop.Flat(), relprop.Epsilon(0), relprop.ZPlus()])
def test_ties_share_below_other_layers_too(rules):
    """ReLU makes ties of zeros, and Flat gives zeros relevance."""
    pool = nn.MaxPool2d(2)
    first = nn.Conv2d(1, 2, 1).double()
    nn.init.zeros_(first.bias)
    model = nn.Sequential(first, nn.ReLU(), pool, nn.Flatten(), nn.Linear(8, 3).double()).eval()
    x = torch.randint(-2, 3, (2, 1, 4, 4)).double()
    explanation = relprop.explain(model, x, 1, rules=rules, layers=["1", "2"])
    hidden = model[1](model[0](x)).detach()
    windows = [slow.windows(4, 2, 2)] * 2
    wanted = slow.pool(hidden, explanation.layers["2"], windows, slow.winners)
    assert difference(explanation.layers["1"], wanted) <= EXACT


@pytest.mark.parametrize("values", [lambda *s: torch.randn(*s).double(), tied])
def test_adaptive_max_pooling(values):
    x = values(2, 2, 7, 5)

    def uneven(size, count):
        return [list(range(j * size // count, -(-(j + 1) * size // count))) for j in range(count)]

    axes = [uneven(7, 3), uneven(5, 2)]
    agree(nn.AdaptiveMaxPool2d((3, 2)), x, lambda R: slow.pool(x, R, axes, slow.winners))


@pytest.mark.parametrize("values", [lambda *s: torch.randn(*s).double(), tied])
@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.amax((2, 3)),
        lambda x: x.amax((2, 3), keepdim=True).flatten(1),
        lambda x: x.flatten(2).max(-1).values,
        lambda x: F.adaptive_max_pool2d(x, 1).flatten(1),
    ],
    ids=["amax", "amax kept", "max", "adaptive"],
)
def test_the_largest_over_axes(choose, values):
    x = values(2, 3, 3, 4)
    whole = [[list(range(3))], [list(range(4))]]
    agree(Call(choose), x, lambda R: slow.pool(x, R[:, :, None, None], whole, slow.winners))


def test_maximum_of_two():
    a = torch.tensor([[1.0, 5.0, 2.0]], dtype=torch.float64)
    c = torch.tensor([[3.0, 4.0, 2.0]], dtype=torch.float64)
    explanation = relprop.explain(Call(torch.maximum), (a, c), torch.ones(1, 3).double())
    assert torch.equal(explanation.relevance[0], torch.tensor([[0.0, 5.0, 1.0]]).double())
    assert torch.equal(explanation.relevance[1], torch.tensor([[3.0, 0.0, 1.0]]).double())


P_NORMS = {
    "1d": (lambda x: F.lp_pool1d(x, 2, 2), 2, (2, 2, 8), {"kernel": 2, "stride": 2}),
    "2d": (lambda x: F.lp_pool2d(x, 2, 2), 2, (2, 2, 4, 6), {"kernel": 2, "stride": 2}),
    "2d cubed": (lambda x: F.lp_pool2d(x, 3, 3, 2), 3, (2, 1, 5, 7), {"kernel": 3, "stride": 2}),
    "2d large power": (
        lambda x: F.lp_pool2d(x, 40, 2),
        40,
        (2, 2, 4, 4),
        {"kernel": 2, "stride": 2},
    ),
    "2d fraction": (
        lambda x: F.lp_pool2d(x, 2.5, 2),
        2.5,
        (2, 2, 4, 4),
        {"kernel": 2, "stride": 2},
    ),
    "2d module": (nn.LPPool2d(4, 2), 4, (2, 2, 4, 4), {"kernel": 2, "stride": 2}),
}


@pytest.mark.parametrize("name", P_NORMS)
def test_p_norm_pooling(name):
    function, p, shape, options = P_NORMS[name]
    x = torch.rand(*shape).double() + 0.1
    axes = [slow.windows(size, **options) for size in shape[2:]]
    model = function if isinstance(function, nn.Module) else Call(function)
    agree(model, x, lambda R: slow.pool(x, R, axes, slow.powers(p)))


def test_p_norm_pooling_of_negative_values_by_an_even_power():
    x = torch.randn(2, 2, 4, 4).double()
    axes = [slow.windows(4, 2, 2)] * 2
    model = nn.LPPool2d(2, 2)
    agree(model, x, lambda R: slow.pool(x, R, axes, slow.powers(2)))


def test_p_norm_pooling_of_negative_values_by_a_fraction_is_refused():
    x = torch.randn(2, 2, 4, 4).double()
    with pytest.raises(relprop.errors.RelpropError):
        relprop.explain(nn.LPPool2d(2.5, 2), x, torch.ones(2, 2, 2, 2).double())
