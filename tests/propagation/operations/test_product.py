"""Products and quotients of tensors that both depend on the input, softmax inside, embeddings."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference import operations as slow
from tests.reference import rules
from tests.reference.measure import difference, gap, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

EXACT = 1e-10


def explain(function, inputs, rules="epsilon"):
    """Relevance of the inputs, and the relevance that the walk started with."""
    with torch.no_grad():
        weights, start = starting_at(function(*inputs))
    given = inputs if len(inputs) > 1 else inputs[0]
    explanation = relprop.explain(Call(function), given, weights, rules=rules)
    assert gap(explanation, start.flatten(1).sum(1)) <= EXACT
    return explanation.relevance, start


def pair(*shape):
    return torch.randn(*shape).double(), torch.randn(*shape).double()


def halves(z, R, epsilon=1e-6):
    return z / (z + epsilon * rules.sign(z)) * R / 2


def test_product_of_two_gives_half_to_each():
    a, c = pair(3, 5)
    (to_a, to_c), start = explain(lambda a, c: a * c, (a, c))
    wanted = halves(a * c, start)
    assert difference(to_a, wanted) <= EXACT
    assert difference(to_c, wanted) <= EXACT


def test_product_with_broadcasting_collects_what_was_copied():
    a, c = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 1).double()
    (to_a, to_c), start = explain(lambda a, c: a * c, (a, c))
    wanted = halves(a * c, start)
    assert difference(to_a, wanted) <= EXACT
    assert difference(to_c, wanted.sum(-1, keepdim=True)) <= EXACT


@pytest.mark.parametrize(
    "multiply",
    [torch.bmm, torch.matmul, lambda a, c: torch.einsum("nij,njk->nik", a, c)],
    ids=["bmm", "matmul", "einsum"],
)
def test_matrix_product_gives_half_to_each_by_epsilon(multiply):
    a, c = torch.randn(2, 3, 4).double(), torch.randn(2, 4, 5).double()
    (to_a, to_c), start = explain(multiply, (a, c))
    wanted_a, wanted_c = slow.matmul(a, c, start)
    assert difference(to_a, wanted_a) <= EXACT
    assert difference(to_c, wanted_c) <= EXACT


@pytest.mark.parametrize(
    "gated",
    [
        lambda a, c: a * torch.sigmoid(c),
        lambda a, c: torch.sigmoid(c) * a,
        lambda a, c: a * F.hardsigmoid(c),
        lambda a, c: a.mul(torch.sigmoid(c.mean(-1, keepdim=True))),
        lambda a, c: a * torch.sigmoid(c.mean(-1))[..., None].expand_as(a),
        lambda a, c: a * torch.rsqrt(c.square().mean(-1, keepdim=True) + 1e-5),
    ],
    ids=["sigmoid", "sigmoid first", "hardsigmoid", "broadcast", "expanded", "rsqrt"],
)
def test_a_gate_receives_nothing(gated):
    a, c = pair(3, 5)
    (to_a, to_c), start = explain(gated, (a, c), relprop.Epsilon(0))
    assert difference(to_a, start) <= 1e-5
    assert to_c.abs().max() == 0


def test_a_quotient_goes_to_the_numerator():
    a, c = torch.randn(3, 5).double(), torch.rand(3, 5).double() + 1
    (to_a, to_c), start = explain(torch.div, (a, c))
    assert difference(to_a, start) <= 1e-5
    assert to_c.abs().max() == 0


def test_softmax_inside_the_network():
    x, M = torch.randn(3, 5).double(), torch.randn(5, 4).double()
    found, start = explain(lambda x: x.softmax(-1) @ M, (x,), relprop.Epsilon(0))
    p = x.softmax(-1)
    inside = torch.stack(
        [
            rules.share(rules.epsilon, p[n], M, torch.zeros(4).double(), start[n], epsilon=0.0)[0]
            for n in range(3)
        ]
    )
    assert difference(found, slow.softmax(x, inside)) <= EXACT


def test_embedding_is_where_relevance_of_tokens_ends():
    """A linear model of embeddings: the relevance of a token is its term of the sum."""
    embedding, head = nn.Embedding(11, 6).double(), nn.Linear(6, 3, bias=False).double()
    model = Call(lambda ids: head(embedding(ids).mean(1)))
    ids = torch.randint(0, 11, (2, 5))
    explanation = relprop.explain(model, ids, 2, rules=relprop.Epsilon(0))
    wanted = embedding(ids) @ head.weight[2] / 5
    assert explanation.relevance.shape == (2, 5)
    assert difference(explanation.relevance, wanted.detach()) <= EXACT


def test_tokens_and_numbers_together():
    """Integer and boolean inputs that are no tokens have no relevance: None."""
    weight = torch.randn(4).double()
    model = Call(lambda x, mask: (x * weight * mask).sum(-1, keepdim=True))
    x, mask = torch.randn(2, 4).double(), torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1]]).bool()
    explanation = relprop.explain(model, (x, mask), 0, rules=relprop.Epsilon(0))
    assert explanation.relevance[1] is None
    assert difference(explanation.relevance[0], x * weight * mask) <= EXACT
