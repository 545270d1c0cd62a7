"""Kernels against scikit-learn's, finite differences, autograd and slow loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise as host
from sklearn.svm import SVC

from relprop.classical.kernels import (
    KERNELS,
    AdditiveChiSquared,
    ChiSquared,
    Columns,
    Combined,
    Hellinger,
    HistogramIntersection,
    Linear,
    Polynomial,
    Rbf,
    Sigmoid,
    find_kernel,
)
from relprop.errors import InvalidInput, UnknownName, UnsupportedOperation

RNG = np.random.default_rng(0)
X, Y = RNG.random((5, 7)), RNG.random((4, 7))
WEIGHTS = RNG.normal(size=4)
ADDITIVE = [Linear(), HistogramIntersection(), AdditiveChiSquared(), Hellinger()]
SMOOTH = [
    Rbf(gamma=0.7),
    ChiSquared(gamma=0.4),
    Polynomial(degree=3, gamma=0.5, coef0=1.0),
    Sigmoid(gamma=0.3, coef0=-0.2),
]
MIXED = [
    Linear() + 2 * Rbf(gamma=0.7),
    0.5 * (Hellinger() + HistogramIntersection()),
    Columns(Rbf(gamma=0.7), slice(1, 4)) + 0.5 * Columns(Linear(), (0, 5)),
    Columns(Polynomial(degree=2, gamma=1.0), (6, 2)),
]
ALL = [*ADDITIVE, *SMOOTH, *MIXED]

# One dimension of each decomposing kernel, and each kernel of a pair, in torch.
DIMENSION = {
    Linear: lambda x, y: x * y,
    HistogramIntersection: torch.minimum,
    AdditiveChiSquared: lambda x, y: 2 * x * y / (x + y),
    Hellinger: lambda x, y: (x * y).sqrt(),
}


def value(kernel, x, y):
    match kernel:
        case Rbf():
            return torch.exp(-kernel.gamma * ((x - y) ** 2).sum())
        case ChiSquared():
            return torch.exp(-kernel.gamma * ((x - y) ** 2 / (x + y)).sum())
        case Polynomial():
            return (kernel.gamma * x @ y + kernel.coef0) ** kernel.degree
        case Sigmoid():
            return torch.tanh(kernel.gamma * x @ y + kernel.coef0)
        case Columns():
            return value(kernel.kernel, x[kernel.columns,], y[kernel.columns,])
        case Combined():
            parts = zip(kernel.weights, kernel.kernels, strict=True)
            return sum(weight * value(part, x, y) for weight, part in parts)
    return DIMENSION[type(kernel)](x, y).sum()


def autograd(kernel, x, function):
    x = torch.tensor(x, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(x), x)
    return gradient.numpy()


def slowly(function):
    return np.array([[float(function(x, y)) for y in torch.tensor(Y)] for x in torch.tensor(X)])


@pytest.mark.parametrize("kernel", ALL, ids=repr)
def test_values_are_those_of_the_formula(kernel):
    np.testing.assert_allclose(
        kernel(X, Y), slowly(lambda x, y: value(kernel, x, y)), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(kernel(X), kernel(X, X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(kernel.diagonal(X), kernel(X).diagonal(), rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "theirs"),
    [
        (Linear(), host.linear_kernel(X, Y)),
        (Rbf(gamma=0.7), host.rbf_kernel(X, Y, gamma=0.7)),
        (ChiSquared(gamma=0.4), host.chi2_kernel(X, Y, gamma=0.4)),
        (Polynomial(degree=2, gamma=0.5, coef0=1.0), host.polynomial_kernel(X, Y, 2, 0.5, 1.0)),
        (Sigmoid(gamma=0.3, coef0=-0.2), host.sigmoid_kernel(X, Y, 0.3, -0.2)),
        (
            AdditiveChiSquared(),
            (host.additive_chi2_kernel(X, Y) + X.sum(1)[:, None] + Y.sum(1)) / 2,
        ),
        (
            HistogramIntersection(),
            (X.sum(1)[:, None] + Y.sum(1) - host.manhattan_distances(X, Y)) / 2,
        ),
        (Hellinger(), host.linear_kernel(np.sqrt(X), np.sqrt(Y))),
    ],
    ids=repr,
)
def test_values_are_those_of_scikit_learn(kernel, theirs):
    np.testing.assert_allclose(kernel(X, Y), theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kernel", ALL, ids=repr)
def test_gradient_by_autograd_and_by_finite_differences(kernel):
    def score(x):
        terms = zip(torch.tensor(WEIGHTS), torch.tensor(Y), strict=True)
        return sum(weight * value(kernel, x, y) for weight, y in terms)

    gradient = kernel.gradient(X, Y, WEIGHTS)
    exact = np.array([autograd(kernel, x, score) for x in X])
    np.testing.assert_allclose(gradient, exact, rtol=1e-10, atol=1e-12)
    step = 1e-6 * np.eye(X.shape[1])
    differences = [(kernel(x + step, Y) - kernel(x - step, Y)) @ WEIGHTS / 2e-6 for x in X]
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kernel", ALL, ids=repr)
def test_gradient_of_the_diagonal(kernel):
    exact = np.array([autograd(kernel, x, lambda x: value(kernel, x, x)) for x in X])
    np.testing.assert_allclose(kernel.diagonal_gradient(X), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", ADDITIVE, ids=repr)
def test_shares_of_dimensions_are_those_of_the_formula(kernel):
    terms = DIMENSION[type(kernel)]
    exact = sum(
        weight * terms(torch.tensor(X), y).numpy()
        for weight, y in zip(WEIGHTS, torch.tensor(Y), strict=True)
    )
    np.testing.assert_allclose(kernel.relevance(X, Y, WEIGHTS), exact, rtol=1e-12, atol=1e-14)
    own = terms(torch.tensor(X), torch.tensor(X)).numpy()
    np.testing.assert_allclose(kernel.diagonal_relevance(X), own, rtol=1e-12)


@pytest.mark.parametrize("kernel", [k for k in ALL if k.decomposes], ids=repr)
def test_shares_sum_to_the_kernel(kernel):
    relevance = kernel.relevance(X, Y, WEIGHTS)
    np.testing.assert_allclose(relevance.sum(1), kernel(X, Y) @ WEIGHTS, rtol=1e-10)


@pytest.mark.parametrize("kernel", [k for k in ALL if k.decomposes], ids=repr)
def test_scores_and_shares_in_one_go(kernel):
    scores, shares = kernel.scored(X, Y, WEIGHTS)
    np.testing.assert_allclose(scores, kernel(X, Y) @ WEIGHTS, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(shares, kernel.relevance(X, Y, WEIGHTS), rtol=1e-12, atol=1e-14)


def test_which_decompose():
    assert all(kernel.decomposes for kernel in ADDITIVE)
    assert not any(kernel.decomposes for kernel in SMOOTH)
    assert [kernel.decomposes for kernel in MIXED] == [False, True, False, False]
    rbf = Rbf(gamma=1.0)
    for refused in (
        lambda: rbf.relevance(X, Y, WEIGHTS),
        lambda: rbf.scored(X, Y, WEIGHTS),
        lambda: rbf.diagonal_relevance(X),
    ):
        with pytest.raises(UnsupportedOperation, match="Expansion.decompose expands it at a root"):
            refused()


def test_columns_that_are_not_seen_get_nothing():
    kernel = Columns(HistogramIntersection(), (4, 1))
    relevance = kernel.relevance(X, Y, WEIGHTS)
    assert np.flatnonzero(relevance.any(0)).tolist() == [1, 4]
    whole = HistogramIntersection().relevance(X, Y, WEIGHTS)
    np.testing.assert_allclose(relevance[:, [1, 4]], whole[:, [1, 4]], rtol=1e-12)


def test_two_empty_bins_have_the_derivative_from_the_right():
    x, y = np.array([[0.0, 0.3]]), np.array([[0.0, 0.5]])
    kernel = ChiSquared(gamma=0.6)
    step = np.array([[1e-7, 0.0]])
    from_the_right = (kernel(x + step, y) - kernel(x, y))[0] / 1e-7
    gradient = kernel.gradient(x, y, np.ones(1))[0]
    np.testing.assert_allclose(gradient[0], from_the_right[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[0], -0.6 * kernel(x, y)[0, 0], rtol=1e-14)
    for additive in (HistogramIntersection(), AdditiveChiSquared(), Hellinger()):
        assert additive.gradient(x, y, np.ones(1))[0, 0] == 0
        assert additive.relevance(x, y, np.ones(1))[0, 0] == 0


def test_blocks_of_samples_and_vectors(monkeypatch):
    import relprop.classical.pairwise as pairwise

    kernels = [HistogramIntersection(), AdditiveChiSquared(), ChiSquared(gamma=0.4)]

    def figures():
        pairs = [(k(X, Y), k.gradient(X, Y, WEIGHTS)) for k in kernels]
        return [part for pair in pairs for part in pair] + list(kernels[0].scored(X, Y, WEIGHTS))

    whole = figures()
    for size in (1, 8, 15, 30):
        monkeypatch.setattr(pairwise, "BLOCK", size)
        for part, expected in zip(figures(), whole, strict=True):
            np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kernel", [*SMOOTH, *MIXED, Linear()], ids=repr)
def test_values_along_a_segment(kernel):
    of, to, t = np.array([0, 3, 3]), np.array([1, 0, 2]), np.array([0.0, 0.4, 1.0])
    points = X[of] + t[:, None] * (Y[to] - X[of])
    along = kernel.along(X, Y, X)
    np.testing.assert_allclose(along(of, to, t), kernel(points, X), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kernel", [*SMOOTH, *MIXED], ids=repr)
def test_a_change_is_exact_where_the_kernel_decomposes(kernel):
    roots = X[::-1].copy()
    change = kernel.change(X, roots, Y, WEIGHTS)
    parts = kernel.kernels if isinstance(kernel, Combined) else (kernel,)
    factors = kernel.weights if isinstance(kernel, Combined) else (1.0,)
    expected = np.zeros_like(X)
    for factor, part in zip(factors, parts, strict=True):
        if part.decomposes:
            expected += factor * (part.relevance(X, Y, WEIGHTS) - part.relevance(roots, Y, WEIGHTS))
        else:
            expected += factor * part.gradient(roots, Y, WEIGHTS) * (X - roots)
    np.testing.assert_allclose(change, expected, rtol=1e-12, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(7)), st.sampled_from([*ADDITIVE, *SMOOTH]))
def test_permuted_features_permute_gradients(order, kernel):
    moved = kernel.gradient(X[:, order], Y[:, order], WEIGHTS)
    np.testing.assert_allclose(moved, kernel.gradient(X, Y, WEIGHTS)[:, order], rtol=1e-10)


def test_gamma_of_the_training_data_is_scikit_learns():
    data = RNG.normal(size=(30, 3))
    labels = data[:, 0] > 0
    for gamma in ("scale", "auto"):
        theirs = SVC(kernel="rbf", gamma=gamma).fit(data, labels)
        np.testing.assert_allclose(Rbf(gamma).fitted(data).gamma, theirs._gamma, rtol=1e-12)
    assert Columns(Rbf("auto"), slice(0, 2)).fitted(data).kernel.gamma == 0.5
    assert (Linear() + Rbf("auto")).fitted(data).kernels[1].gamma == 1 / 3
    assert Rbf("scale").fitted(np.ones((3, 2))).gamma == 1.0
    with pytest.raises(InvalidInput, match="depends on the training data"):
        Rbf()(X, Y)


@pytest.mark.parametrize("kernel", ADDITIVE + SMOOTH, ids=repr)
def test_scikit_learn_takes_them(kernel):
    labels = X[:, 0] > np.median(X[:, 0])
    machine = SVC(kernel=kernel).fit(X, labels)
    theirs = SVC(kernel="precomputed").fit(kernel(X), labels)
    np.testing.assert_allclose(
        machine.decision_function(Y), theirs.decision_function(kernel(Y, X)), rtol=1e-9
    )


def test_sums_are_flat_and_weighted():
    kernel = 2 * (Linear() + 0.5 * Hellinger()) + Rbf(gamma=1.0)
    assert kernel.weights == (2.0, 1.0, 1.0)
    assert kernel.kernels == (Linear(), Hellinger(), Rbf(gamma=1.0))
    assert hash(Columns(kernel, slice(0, 2))) == hash(Columns(kernel, slice(0, 2)))


def test_names():
    assert all(type(find_kernel(name)) is KERNELS[name] for name in KERNELS)
    assert find_kernel(kernel := Rbf(gamma=2.0)) is kernel
    with pytest.raises(UnknownName, match="unknown kernel 'gauss'; there are: additive_chi2, chi2"):
        find_kernel("gauss")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: HistogramIntersection()(X - 1, Y), "Negative values .* got -0."),
        (lambda: Hellinger()(X, -Y), "Negative values in data passed to Hellinger"),
        (lambda: ChiSquared()(X, -Y), "features must be at least 0"),
        (lambda: Linear()(X, Y[:, 1:]), "samples have 7 features and the vectors 6"),
        (lambda: Linear()(X[0], Y), r"samples must be \[n, d\], got shape \[7\]"),
        (lambda: Rbf(gamma=0), "gamma must be a number above 0"),
        (lambda: Rbf(gamma="big"), "gamma must be a number above 0"),
        (lambda: ChiSquared(gamma="scale"), "must be a number, got 'scale'"),
        (lambda: Polynomial(degree=1.5), "degree must be an integer of 1 or more"),
        (lambda: -1 * Linear(), "weights of kernels must be at least 0"),
        (lambda: Combined((Linear(),), (1.0, 2.0)), "1 kernels and 2 weights"),
        (lambda: Columns(Linear(), (0, 0)), "columns must be distinct"),
        (lambda: Columns(Linear(), (0, 9))(X, Y), "of samples that have 7 features"),
        (lambda: Columns(Linear(), slice(9, 12))(X, Y), "choose none of 7 features"),
    ],
)
def test_refusals(wrong, says):
    with pytest.raises(InvalidInput, match=says):
        wrong()


def test_sparse_samples_are_refused_with_the_remedy():
    from scipy.sparse import csr_matrix

    with pytest.raises(InvalidInput, match="pass X.toarray"):
        Linear()(csr_matrix(X), Y)
