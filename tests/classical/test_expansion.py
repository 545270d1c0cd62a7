"""Expansions: scores, gradients, exact shares and Taylor at a root."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from relprop.classical.expansion import Expansion
from relprop.classical.kernels import (
    AdditiveChiSquared,
    ChiSquared,
    Columns,
    Hellinger,
    HistogramIntersection,
    Linear,
    Polynomial,
    Rbf,
    Sigmoid,
)
from relprop.errors import InvalidInput, NoRootFound, UnknownName

RNG = np.random.default_rng(1)
VECTORS, X = RNG.random((12, 5)), RNG.random((9, 5))
WEIGHTS = RNG.normal(size=12)
EXACT = [
    Linear(),
    HistogramIntersection(),
    AdditiveChiSquared(),
    Hellinger(),
    0.3 * Linear() + 0.7 * Hellinger(),
    Columns(Linear(), slice(0, 2)) + Columns(HistogramIntersection(), slice(2, 5)),
]
TAYLOR = [
    Rbf(gamma=1.5),
    ChiSquared(gamma=1.0),
    Polynomial(degree=2, gamma=1.0, coef0=0.5),
    Sigmoid(gamma=0.8, coef0=-0.3),
    Linear() + Rbf(gamma=1.5),
    Columns(Rbf(gamma=3.0), slice(0, 3)) + Columns(ChiSquared(gamma=2.0), slice(3, 5)),
]


def expansion(kernel, **parts):
    """With the bias at which half of the vectors lie on either side of f = 0."""
    middle = -float(np.median(kernel(VECTORS) @ WEIGHTS))
    return Expansion(kernel, VECTORS, WEIGHTS, **{"bias": middle, **parts})


def absorbed(shared):
    return shared.bias + shared.stabiliser + shared.lost


@pytest.mark.parametrize("bias", ["absorb", "distribute"])
@pytest.mark.parametrize("kernel", EXACT, ids=repr)
def test_exact_shares_are_conserved(kernel, bias):
    offsets = RNG.normal(size=5)
    f = expansion(kernel, bias=0.7, own=0.4, offsets=offsets)
    shared, notes = f.decompose(X, bias=bias)
    scale = np.abs(shared.relevance).sum(1)
    gap = np.abs(f.score(X) - shared.relevance.sum(1) - absorbed(shared)) / scale
    assert gap.max() < 1e-10
    assert notes.way == "exact"
    np.testing.assert_allclose(notes.score, f.score(X), rtol=1e-12)
    assert (shared.bias == (0.7 if bias == "absorb" else 0.0)).all()


@pytest.mark.parametrize("kernel", EXACT + TAYLOR, ids=repr)
def test_score_by_a_loop(kernel):
    offsets = np.arange(5.0)
    f = expansion(kernel, own=0.4, offsets=offsets)
    for x, score in zip(X, f.score(X), strict=True):
        terms = [w * kernel(x[None], y[None])[0, 0] for w, y in zip(WEIGHTS, VECTORS, strict=True)]
        slow = sum(terms) + 0.4 * kernel(x[None])[0, 0] + offsets.sum() + f.bias
        assert score == pytest.approx(slow, rel=1e-11)


@pytest.mark.parametrize("kernel", EXACT + TAYLOR, ids=repr)
def test_gradient_by_finite_differences(kernel):
    f = expansion(kernel, own=0.4)
    step = 1e-6 * np.eye(5)
    differences = [(f.score(x + step) - f.score(x - step)) / 2e-6 for x in X]
    np.testing.assert_allclose(f.gradient(X), differences, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", TAYLOR, ids=repr)
def test_taylor_at_a_root_by_autograd(kernel):
    f = expansion(kernel)
    shared, notes = f.decompose(X)
    assert notes.way == "Taylor"
    np.testing.assert_array_less(np.abs(f.score(notes.roots)), 1e-5 + 1e-12)
    np.testing.assert_allclose(notes.at_roots, f.score(notes.roots))
    step = 1e-6 * np.eye(5)
    for x, root, relevance in zip(X, notes.roots, shared.relevance, strict=True):
        if f.kernel in (TAYLOR[4],):
            continue  # one of its parts is exact: a test of its own
        slope = (f.score(root + step) - f.score(root - step)) / 2e-6
        np.testing.assert_allclose(relevance, slope * (x - root), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kernel", TAYLOR, ids=repr)
def test_what_the_first_order_leaves_out_is_lost_and_said(kernel):
    f = expansion(kernel)
    shared, notes = f.decompose(X)
    np.testing.assert_array_equal(shared.lost, notes.at_roots + notes.residual)
    np.testing.assert_array_equal(notes.score, f.score(X))
    assert not shared.bias.any()
    assert not shared.stabiliser.any()
    expected = f.score(X) - f.score(notes.roots) - shared.relevance.sum(1)
    np.testing.assert_allclose(notes.residual, expected, atol=1e-13)
    assert np.abs(notes.residual).max() > 1e-4  # a real figure: these kernels are curved


def test_the_residual_is_of_second_order():
    f = expansion(Rbf(gamma=1.5))
    _, notes = f.decompose(X)
    directions = X - notes.roots

    def left_out(share):
        near = notes.roots + share * directions
        return np.abs(f.decompose(near, root=notes.roots)[1].residual)

    ratios = left_out(1e-2) / left_out(1e-3)
    np.testing.assert_allclose(np.median(ratios), 100, rtol=0.05)


@pytest.mark.parametrize("kernel", TAYLOR, ids=repr)
def test_taylor_of_the_diagonal(kernel):
    """k(x, x) has its share, too: to first order, and exactly in the part that decomposes."""
    roots = X[::-1].copy()
    with_own, without = (expansion(kernel, own=own, bias=0.0) for own in (0.4, 0.0))
    both, one = (f.decompose(X, root=roots)[0].relevance for f in (with_own, without))
    step = 1e-6 * np.eye(5)
    for x, root, part in zip(X, roots, both - one, strict=True):
        slope = (kernel.diagonal(root + step) - kernel.diagonal(root - step)) / 2e-6
        expected = slope * (x - root)
        if kernel == TAYLOR[4]:
            expected = x**2 - root**2  # of its two parts one is exact, and one constant
        np.testing.assert_allclose(part, 0.4 * expected, rtol=1e-6, atol=1e-9)


def test_roots_where_the_diagonal_counts():
    kernel = Polynomial(degree=2, gamma=1.0, coef0=0.5)
    middle = 0.4 * float(np.median(kernel.diagonal(X)))
    f = Expansion(kernel, VECTORS, 0.01 * WEIGHTS, -middle, own=0.4)
    _, notes = f.decompose(X, candidates=X)
    np.testing.assert_array_less(np.abs(f.score(notes.roots)), 1e-5 + 1e-12)


def test_a_linear_function_by_taylor_is_exact():
    f = expansion(Polynomial(degree=1, gamma=1.0))
    shared, notes = f.decompose(X)
    assert np.abs(notes.residual).max() < 1e-12
    np.testing.assert_allclose(shared.relevance.sum(1), f.score(X), atol=1.1e-5)


def test_in_a_sum_the_part_that_decomposes_is_exact():
    kernel = Linear() + 0.5 * Rbf(gamma=1.5)
    f = expansion(kernel)
    shared, notes = f.decompose(X)
    weights = torch.tensor(WEIGHTS)

    def gaussian(x):
        squares = ((x - torch.tensor(VECTORS)) ** 2).sum(1)
        return (weights * torch.exp(-1.5 * squares)).sum()

    for x, root, relevance in zip(X, notes.roots, shared.relevance, strict=True):
        point = torch.tensor(root, requires_grad=True)
        (slope,) = torch.autograd.grad(gaussian(point), point)
        exact = (WEIGHTS @ VECTORS) * (x - root)
        np.testing.assert_allclose(relevance, exact + 0.5 * slope.numpy() * (x - root), rtol=1e-9)


def test_it_is_the_hosts_decision_function():
    labels = X[:, 0] > X[:, 1]
    host = SVC(gamma=2.0).fit(X, labels)
    f = Expansion(Rbf(gamma=2.0), host.support_vectors_, host.dual_coef_[0], host.intercept_[0])
    np.testing.assert_allclose(f.score(VECTORS), host.decision_function(VECTORS), rtol=1e-10)


def test_a_linear_machine_is_w_x():
    f = Expansion(Linear(), VECTORS, WEIGHTS, 0.5)
    shared, _ = f.decompose(X)
    np.testing.assert_allclose(shared.relevance, X * (WEIGHTS @ VECTORS), rtol=1e-12)


def test_the_bias_by_the_squares_of_the_weights():
    f = Expansion(Linear(), VECTORS, WEIGHTS, 0.5)
    shared, _ = f.decompose(X, bias="weights")
    w = WEIGHTS @ VECTORS
    np.testing.assert_allclose(shared.relevance - X * w, 0.5 * np.tile(w**2 / (w @ w), (9, 1)))
    np.testing.assert_allclose(shared.relevance.sum(1), f.score(X), rtol=1e-10)
    flat = Expansion(Linear(), VECTORS, np.zeros(12), 0.5)
    assert (flat.decompose(X, bias="weights")[0].relevance == 0.1).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(EXACT + TAYLOR), st.permutations(range(9)))
def test_a_batch_is_its_samples_in_any_order(kernel, order):
    f = expansion(kernel)
    whole = f.decompose(X)[0]
    moved = f.decompose(X[order])[0]
    np.testing.assert_allclose(moved.relevance, whole.relevance[order], rtol=1e-6, atol=1e-9)
    alone = f.decompose(X[:1])[0]
    np.testing.assert_allclose(alone.relevance, whole.relevance[:1], rtol=1e-6, atol=1e-9)


def test_roots_that_are_given():
    f = expansion(Rbf(gamma=1.5))
    _, notes = f.decompose(X)
    again, said = f.decompose(X, root=notes.roots)
    np.testing.assert_array_equal(said.residual, notes.residual)
    one, said = f.decompose(X, root=notes.roots[0])
    np.testing.assert_array_equal(said.roots, np.tile(notes.roots[0], (9, 1)))
    with pytest.raises(InvalidInput, match=r"root must be \[5\] or \[9, 5\], got \[4\]"):
        f.decompose(X, root=np.zeros(4))


def test_candidates_decide_the_roots():
    f = expansion(Rbf(gamma=1.5))
    own, wide = (f.decompose(X, candidates=c)[1] for c in (None, RNG.random((200, 5))))
    distances = [np.linalg.norm(X - notes.roots, axis=1) for notes in (own, wide)]
    assert distances[1].mean() < distances[0].mean()  # more candidates, nearer roots
    with pytest.raises(NoRootFound, match="pass candidates= with samples for which f is"):
        f.decompose(X, candidates=X[f.score(X) > 0])


def test_many_samples_are_scored_in_parts(monkeypatch):
    import relprop.classical.expansion as home

    f = expansion(Rbf(gamma=1.5))
    whole = f.score(X)
    monkeypatch.setattr(home, "ROWS", 2)
    np.testing.assert_allclose(f.score(X), whole, rtol=1e-12)
    assert f.score(X[:0]).shape == (0,)
    assert f.decompose(X[:0])[0].relevance.shape == (0, 5)


def test_refusals():
    f = expansion(Rbf(gamma=1.5))
    with pytest.raises(InvalidInput, match="samples have 4 features, the model 5"):
        f.score(X[:, :4])
    broken = X.copy()
    broken[2, 3] = np.nan
    for wrong in ({"X": broken}, {"X": X, "candidates": broken}):
        with pytest.raises(InvalidInput, match="sample 2 has nan in feature 3"):
            f.decompose(**wrong)
    with pytest.raises(InvalidInput, match=r"12 vectors need weights \[12\], got \[3\]"):
        Expansion(Linear(), VECTORS, WEIGHTS[:3])
    with pytest.raises(UnknownName, match="unknown way to handle the bias 'drop'; there are: abs"):
        f.decompose(X, bias="drop")
    with pytest.raises(InvalidInput, match='bias="weights" needs a linear kernel'):
        expansion(Hellinger()).decompose(X, bias="weights")
