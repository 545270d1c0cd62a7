"""Taylor decomposition at a root: exact for linear models, and a root that is one."""

import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidInput, NoRootFound
from relprop.methods.roots import Search, descend, towards
from relprop.methods.subject import Subject
from tests.methods.twins import WithSoftmax, images, twin
from tests.reference.measure import difference


def taylor(model, x, target=None, **options):
    return relprop.explain(model, x, target, method="taylor", **options)


@pytest.fixture
def linear():
    return nn.Linear(6, 3).double()


def test_a_linear_model_is_explained_exactly(linear):
    """f = w x + b: the terms sum to f, and the nearest root moves x along w."""
    x = torch.randn(5, 6).double()
    found = taylor(linear, x, 1, tolerance=1e-12)
    f = linear(x)[:, 1].detach()
    w = linear.weight[1].detach()
    assert torch.allclose(found.relevance.sum(1), f)
    assert torch.allclose(found.relevance, f[:, None] * w.square() / w.square().sum())
    assert "first order leave at most" in found.notes[-1]


def test_a_linear_model_at_a_given_root(linear):
    w, b = linear.weight[1].detach(), linear.bias[1].detach()
    root = -b * w / w.square().sum()
    x = torch.randn(5, 6).double()
    found = taylor(linear, x, 1, root=root)
    assert torch.allclose(found.relevance, w * (x - root))
    assert torch.allclose(found.relevance.sum(1), linear(x)[:, 1].detach())


def test_candidates_give_the_nearest_root_on_a_line(linear):
    """Of the candidates on the other side the nearest is taken, and f is zero on the way to it."""
    x = torch.randn(4, 6).double()
    w = linear.weight[1].detach()
    ways = torch.eye(6).double()[:3]
    begin = linear(x)[:, 1].detach()
    candidates = torch.cat([-10 * begin.sign()[:, None] * w + way for way in ways])
    subject = Subject(linear, x, 1, -1)
    weights = subject.start.weights[0]
    with torch.no_grad():
        (root,) = towards(subject, weights, [candidates], Search(tolerance=1e-6))
    assert (linear(root)[:, 1].abs() <= 1e-6 * begin.abs()).all()
    for one, point in zip(x, root, strict=True):
        opposite = [c for c in candidates if linear(c)[1] * linear(one)[1] < 0]
        nearest = min(opposite, key=lambda c, one=one: float((c - one).norm()))
        along, line = point - one, nearest - one
        assert torch.allclose(along, line * (along @ line) / (line @ line), atol=1e-9)
    found = taylor(linear, x, 1, candidates=candidates, tolerance=1e-6)
    assert torch.allclose(found.relevance, w * (x - root), atol=1e-5)


def test_the_search_ends_on_the_decision_boundary():
    """Of a network, for a margin between two classes: [1, -1, 0, ...]."""
    model, x = twin(), images(4)
    margin = torch.tensor([1.0, -1.0, 0, 0, 0]).double()
    subject = Subject(model, x, margin, -1)
    with torch.no_grad():
        (root,) = descend(subject, subject.start.weights[0], Search(tolerance=1e-4))
        begin, end = ((model(t) * margin).sum(1) for t in (x, root))
    assert (end.abs() <= 1e-4 * begin.abs()).all()
    found = taylor(model, x, margin, tolerance=1e-4)
    at_root = root.clone().requires_grad_()
    (slope,) = torch.autograd.grad((model(at_root) * margin).sum(), at_root)
    assert difference(found.relevance, slope * (x - root)) <= 1e-10


def test_what_the_first_order_leaves_is_reported():
    """f = x^2 - 1 at x = 2, root 1: the term is 2 (2 - 1), and f = 3."""
    found = taylor(lambda x: x.square() - 1, torch.tensor([[2.0]]), root=torch.ones(1))
    assert found.relevance.tolist() == [[2.0]]
    assert "leave at most 3.3e-01 of f(x)" in found.notes[-1]
    assert "|f(root)| is at most 0.0e+00" in found.notes[-1]


def test_no_root_is_an_error_that_says_how_near_it_was():
    with pytest.raises(NoRootFound, match=r"no root of f near sample\(s\) 0, 1 within 20 steps"):
        taylor(lambda x: x.square() + 1, torch.tensor([[2.0], [3.0]]), steps=20)
    with pytest.raises(NoRootFound, match=r"has this sign at all 2 candidates"):
        taylor(lambda x: x, torch.ones(1, 1), candidates=torch.tensor([[2.0], [3.0]]))
    with pytest.raises(NoRootFound, match=r"f jumps over zero"):
        jump = torch.ones(1, 1)
        taylor(lambda x: (1 + x * x) * ((x > 0).float() - 0.5), jump, candidates=-jump)


def test_roots_and_candidates_that_do_not_fit_are_refused():
    x = torch.ones(2, 3)
    for given, message in (
        ({"root": torch.ones(4)}, r"root= of shape \(4,\) does not fit inputs of \(2, 3\)"),
        ({"candidates": torch.ones(2, 4)}, r"candidates= of shape \(2, 4\) does not fit"),
        ({"root": (torch.ones(3), torch.ones(3))}, r"root= has 2 tensors for 1"),
        ({"root": x, "candidates": x}, "give root= or candidates=, not both"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"tolerance": 2}, "tolerance must be between 0 and 1"),
    ):
        with pytest.raises(InvalidInput, match=message):
            taylor(lambda x: x, x, 0, **given)


def test_several_targets_and_inputs():
    def model(a, b):
        return torch.stack([2 * a.sum(1) + b.sum(1), b.sum(1) - a[:, 0]], 1)

    a, b = torch.rand(3, 4) + 1, torch.rand(3, 2) + 1
    each = taylor(model, (a, b), "all", tolerance=1e-6)
    assert [leaf.shape for leaf in each.relevance] == [(3, 2, 4), (3, 2, 2)]
    totals = sum(leaf.sum(2) for leaf in each.relevance)
    assert torch.allclose(totals, model(a, b), atol=1e-4)
    alone = taylor(model, (a, b), 1, tolerance=1e-6)
    assert torch.allclose(each.relevance[0][:, 1], alone.relevance[0], atol=1e-5)


def test_a_batch_is_its_samples():
    x = images(4)
    whole = taylor(twin(), x, [1.0, -1.0, 0, 0, 0])
    parts = taylor(twin(), x, [1.0, -1.0, 0, 0, 0], batch_size=1)
    assert difference(parts.relevance, whole.relevance) <= 1e-8


def test_a_softmax_at_the_end_is_left_out():
    margin = [1.0, -1.0, 0.0, 0.0, 0.0]
    wanted = taylor(twin(), images(), margin).relevance
    found = taylor(twin(WithSoftmax), images(), margin)
    assert difference(found.relevance, wanted) <= 1e-10
    assert torch.allclose(found.output, twin()(images()).detach())


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
def test_deep_taylor_is_lrp_with_its_preset():
    found = relprop.explain(twin(), images(), 2, method="deep-taylor")
    wanted = relprop.explain(twin(), images(), 2, rules="deep-taylor")
    assert torch.equal(found.relevance, wanted.relevance)
    assert found.method == "deep-taylor" and found.preset == "deep-taylor"
    assert torch.equal(found.conservation_gap, wanted.conservation_gap)
