"""What is explained: each kind of target on a linear model, whose relevance is known by hand."""

import numpy
import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidTarget
from tests.reference.measure import difference

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

PLAIN = relprop.Epsilon(0)
EXACT = 1e-12


@pytest.fixture
def model():
    return nn.Linear(4, 3, bias=False).double().eval()


@pytest.fixture
def x():
    return torch.randn(5, 4).double()


def by_hand(model, x, weights):
    """R_i = x_i sum_j w_ij c_j for relevance that starts at c_j f_j; weights [N, 3]."""
    return x * (torch.as_tensor(weights).double().expand(len(x), 3) @ model.weight.detach())


def one_hot(classes):
    return torch.eye(3).double()[torch.as_tensor(classes)]


def explain(model, x, target, **options):
    return relprop.explain(model, x, target, rules=PLAIN, **options)


def test_none_is_the_predicted_class(model, x):
    explanation = explain(model, x, None)
    classes = model(x).argmax(1)
    assert torch.equal(torch.as_tensor(explanation.target), classes)
    assert difference(explanation.relevance, by_hand(model, x, one_hot(classes))) <= EXACT


def test_none_is_the_only_output_where_there_is_one(x):
    model = nn.Linear(4, 1, bias=False).double()
    explanation = explain(model, x, None)
    assert difference(explanation.relevance, x * model.weight.detach()) <= EXACT


def test_one_class_for_all(model, x):
    wanted = by_hand(model, x, one_hot([2] * 5))
    assert difference(explain(model, x, 2).relevance, wanted) <= EXACT


@pytest.mark.parametrize(
    "kind", [list, tuple, torch.tensor, lambda v: torch.tensor(v).int(), numpy.array]
)
def test_a_class_for_each_sample(model, x, kind):
    classes = [2, 0, 1, 1, 0]
    wanted = by_hand(model, x, one_hot(classes))
    assert difference(explain(model, x, kind(classes)).relevance, wanted) <= EXACT


@pytest.mark.parametrize("weights", [torch.randn(5, 3), torch.tensor([1.0, -1.0, 0.0])])
def test_weights_over_neurons(model, x, weights):
    wanted = by_hand(model, x, weights)
    assert difference(explain(model, x, weights).relevance, wanted) <= 1e-6  # float32 weights
    assert difference(explain(model, x, weights.double()).relevance, wanted) <= EXACT


def test_weights_may_be_lists_and_arrays(model, x):
    wanted = by_hand(model, x, torch.tensor([1.0, -1.0, 0.5]))
    for weights in ([1.0, -1.0, 0.5], numpy.array([1.0, -1.0, 0.5])):
        assert difference(explain(model, x, weights).relevance, wanted) <= EXACT


def test_weights_explain_a_margin(x):
    model = nn.Linear(4, 2, bias=False).double()
    explanation = explain(model, x, torch.tensor([1.0, -1.0]))
    wanted = x * (model.weight[0] - model.weight[1]).detach()
    assert difference(explanation.relevance, wanted) <= EXACT


def test_a_callable_gives_weights(model, x):
    def probabilities(output):
        return output.softmax(-1)

    wanted = by_hand(model, x, probabilities(model(x).detach()))
    assert difference(explain(model, x, probabilities).relevance, wanted) <= EXACT


def test_all_outputs_one_map_each(model, x):
    explanation = explain(model, x, "all")
    assert explanation.relevance.shape == (5, 3, 4)
    for k in range(3):
        wanted = by_hand(model, x, one_hot([k] * 5))
        assert difference(explanation.relevance[:, k], wanted) <= EXACT
    assert explanation.ledger.totals()["bias"].shape == (5, 3)
    assert explanation.bias.shape == (5, 3)


def test_groups_of_outputs_one_map_each(model, x):
    explanation = explain(model, x, {"animals": [0, 2], "other": [1]})
    assert explanation.relevance.shape == (5, 2, 4)
    for k, weights in enumerate([[1, 0, 1], [0, 1, 0]]):
        wanted = by_hand(model, x, torch.tensor(weights))
        assert difference(explanation.relevance[:, k], wanted) <= EXACT


class Tokens(nn.Module):
    """An output of [N, T, V]."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.head(x)


def test_index_tuples_where_the_output_has_more_axes():
    model, x = Tokens().double(), torch.randn(2, 5, 4).double()
    explanation = explain(model, x, [(4, 2), (0, 1)])
    wanted = torch.zeros_like(x)
    wanted[0, 4] = x[0, 4] * model.head.weight[2].detach()
    wanted[1, 0] = x[1, 0] * model.head.weight[1].detach()
    assert difference(explanation.relevance, wanted) <= EXACT


def test_weights_and_callables_where_the_output_has_more_axes():
    model, x = Tokens().double(), torch.randn(2, 5, 4).double()
    weights = torch.randn(2, 5, 3).double()
    wanted = x * (weights @ model.head.weight.detach())
    assert difference(explain(model, x, weights).relevance, wanted) <= EXACT
    assert difference(explain(model, x, lambda output: weights).relevance, wanted) <= EXACT


@pytest.mark.parametrize("target", [None, 1, [1, 2], "all"])
def test_an_output_with_more_axes_needs_to_be_told(target):
    with pytest.raises(InvalidTarget):
        explain(Tokens().double(), torch.randn(2, 5, 4).double(), target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "3"),
        (99, "99"),
        ([0, 1], "2"),
        ([0, 1, 2, 3, 0], "3"),
        (torch.zeros(5, 3, dtype=torch.long), ""),
        (torch.randn(5, 4), "4"),
        (torch.tensor([float("nan"), 0.0, 1.0]), ""),
        ("everything", "all"),
        ({"a": [7]}, "7"),
        ({}, ""),
        (lambda output: "no weights", ""),
        (lambda output: output[:, :2], "2"),
        (True, ""),
        (object(), "target"),
    ],
    ids=[
        "out of range", "far out of range", "too few", "one out of range", "integers of two axes",
        "wrong width", "not a number", "unknown word", "group out of range", "no groups",
        "callable gives a word", "callable gives a wrong shape", "a boolean", "an object",
    ],
)  # fmt: skip
def test_what_names_no_output_is_refused(model, x, target, message):
    with pytest.raises(InvalidTarget, match=message or None):
        explain(model, x, target)


def test_the_message_says_how_many_outputs_there_are(model, x):
    with pytest.raises(InvalidTarget, match=r"0\.\.2"):
        explain(model, x, 17)


class Ended(nn.Module):
    """A linear model whose output ends in a squashing function."""

    def __init__(self, end):
        super().__init__()
        self.linear, self.end = nn.Linear(4, 3, bias=False), end

    def forward(self, x):
        return self.end(self.linear(x))


@pytest.mark.parametrize(
    "end",
    [
        nn.Softmax(-1),
        nn.LogSoftmax(-1),
        nn.Sigmoid(),
        lambda z: torch.softmax(z, 1),
        lambda z: torch.nn.functional.log_softmax(z, dim=-1),
        torch.sigmoid,
    ],
    ids=["Softmax", "LogSoftmax", "Sigmoid", "softmax", "log_softmax", "sigmoid"],
)
def test_what_squashes_the_output_is_left_out(x, end):
    """Thesis 2.3.1: relevance starts at the logits, and they are the output."""
    model = Ended(end).double().eval()
    logits = model.linear(x).detach()
    explanation = explain(model, x, 1)
    assert difference(explanation.output, logits) <= EXACT
    wanted = by_hand(model.linear, x, one_hot([1] * 5))
    assert difference(explanation.relevance, wanted) <= EXACT
    assert torch.equal(torch.as_tensor(explain(model, x, None).target), logits.argmax(1))
    assert "left out" in " ".join(explanation.notes)
    assert any("left out" in row.rule for row in explanation.ledger.rows)


def test_a_plain_output_is_what_the_model_said(model, x):
    explanation = explain(model, x, 1)
    assert torch.equal(explanation.output, model(x).detach())
    assert explanation.notes == ()
