"""The plan before any number: coverage, refusal by name, operations that the user adds."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import UnsupportedOperation
from tests.reference.measure import difference
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


class Net(nn.Module):
    """One operation of each kind that a small network has."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x)
        x = F.max_pool2d(F.relu(self.body(x)) + x, 2)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1)).softmax(-1)


def table(coverage):
    return [(row.module, row.family, str(row.rule)) for row in coverage]


def test_coverage_lists_every_operation_with_module_and_rule():
    rows = relprop.Explainer(Net().eval(), "thesis").coverage(torch.rand(2, 3, 8, 8))
    listed = table(rows)
    modules = [module for module, _, _ in listed]
    for name in ("stem.0", "body", "head"):
        assert name in modules, name
    rules = {module: rule for module, family, rule in listed if family in ("convolution", "dense")}
    assert "Flat" in rules["stem.0"]
    assert "AlphaBeta" in rules["body"]
    assert "Epsilon" in rules["head"]
    families = {family for _, family, _ in listed}
    assert {"convolution", "dense", "activation", "pooling", "merge"} <= families


def test_coverage_can_be_read_and_mentions_the_softmax_left_out():
    text = str(relprop.Explainer(Net().eval()).coverage(torch.rand(1, 3, 8, 8)))
    assert "stem.0" in text
    assert "softmax" in text


def test_coverage_does_not_fail_where_an_operation_is_refused():
    class Sums(nn.Module):
        def forward(self, x):
            return x.cumsum(-1)

    model = nn.Sequential(nn.Linear(4, 4))
    model.add_module("sums", Sums())
    rows = list(relprop.Explainer(model).coverage(torch.randn(2, 4)))
    refused = [row for row in rows if "refused" in str(row.rule)]
    assert len(refused) == 1
    assert refused[0].module == "sums"
    assert "cumsum" in str(refused[0].operation)


class Wrapped(nn.Module):
    """Something inside a module whose name the message must give."""

    def __init__(self, inner):
        super().__init__()
        self.before, self.odd, self.after = nn.Linear(8, 8), inner, nn.Linear(8, 2)

    def forward(self, x):
        x = self.odd(self.before(x))
        return self.after(x[0] if isinstance(x, tuple) else x).flatten(1)


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)


class HandAttention(nn.Module):
    """Softmax of scores times values, written out."""

    def forward(self, x):
        return (x @ x.mT).softmax(-1) @ x


UNSUPPORTED = {
    "cumsum": (Call(lambda x: x.cumsum(1)), "cumsum"),
    "sort": (Call(lambda x: x.sort(1).values), "sort"),
    "fft": (Call(lambda x: torch.fft.rfft(x).real.repeat(1, 1, 2)[..., :8]), "view_as_real|fft"),
    "attention": (Attention(), "scaled_dot_product_attention"),
    "multi-head attention": (SelfAttention(), "attention"),
    "lstm": (nn.LSTM(8, 8, batch_first=True), "(?i)lstm"),
    "gru": (nn.GRU(8, 8, batch_first=True), "(?i)gru"),
    "attention by hand": (HandAttention(), "attention"),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), "attention"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_has_no_rule_is_refused_by_name_and_place(name):
    inner, operation = UNSUPPORTED[name]
    model = Wrapped(inner).eval()
    with pytest.raises(UnsupportedOperation, match=operation) as caught:
        relprop.explain(model, torch.randn(2, 3, 8), torch.ones(2, 6))
    assert "odd" in str(caught.value)


def test_the_refusal_says_how_to_add_the_operation():
    with pytest.raises(UnsupportedOperation, match="register_operation"):
        relprop.explain(Call(lambda x: x.cumsum(1)), torch.randn(2, 3), 0)


class Leak(nn.Module):
    """A dependent value that leaves the graph as a number and comes back."""

    def __init__(self, leave):
        super().__init__()
        self.linear, self.leave = nn.Linear(4, 3), leave

    def forward(self, x):
        return self.leave(self.linear(x))


@pytest.mark.parametrize(
    "leave",
    [
        lambda z: z * z.sum().item(),
        lambda z: z + torch.from_numpy(z.detach().numpy() * 2),
        lambda z: z * float(z[0, 0]),
    ],
    ids=["item", "numpy", "float"],
)
def test_numbers_that_leave_the_graph_and_return_are_refused(leave):
    with pytest.raises(relprop.errors.RelpropError, match=r"item|numpy|number|Python|value"):
        relprop.explain(Leak(leave).eval(), torch.randn(1, 4), 0)


def test_branching_on_a_value_is_accepted():
    model = Leak(lambda z: z * 2 if z.sum() > 0 else z * 3).double().eval()
    x = torch.randn(1, 4).double()
    explanation = relprop.explain(model, x, 0, rules=relprop.Epsilon(0))
    z = model.linear(x)[0, 0].detach()
    factor = 2 if model.linear(x).sum() > 0 else 3
    assert difference(explanation.relevance, x * model.linear.weight[0].detach() * factor) <= 1e-9
    assert torch.isclose(explanation.output[0, 0], z * factor)


def test_detach_lets_relevance_through():
    model = Leak(lambda z: z.detach() * 2).double().eval()
    x = torch.randn(2, 4).double()
    explanation = relprop.explain(model, x, 0, rules=relprop.Epsilon(0))
    assert difference(explanation.relevance, 2 * x * model.linear.weight[0].detach()) <= 1e-9
