"""SVDD against a quadratic program, and its shares."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

from relprop.classical import (
    ChiSquared,
    Hellinger,
    HistogramIntersection,
    KernelSVDD,
    Linear,
    Polynomial,
    Rbf,
)

RNG = np.random.default_rng(4)
X, NEW = RNG.random((24, 3)), RNG.random((15, 3))
KERNELS = [
    Linear(),
    HistogramIntersection(),
    Hellinger(),
    Rbf(gamma=2.0),
    ChiSquared(gamma=1.0),
    Polynomial(degree=2, gamma=1.0, coef0=1.0),
    Linear() + 0.5 * Rbf(gamma=2.0),
]


@parametrize_with_checks([KernelSVDD(Rbf(gamma=0.1), tol=1e-10)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def quadratic_program(values, nu):
    """alpha of: max sum_i alpha_i k(x_i, x_i) - alpha' K alpha, sum 1, each in 0..1/(nu n)."""
    n, own = len(values), values.diagonal()
    solution = minimize(
        lambda a: a @ values @ a - a @ own,
        np.full(n, 1 / n),
        jac=lambda a: 2 * values @ a - own,
        bounds=[(0, 1 / (nu * n))] * n,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": lambda a: np.ones(n)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    assert solution.success
    return solution.x


@pytest.mark.parametrize("nu", [0.15, 0.5])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_the_ball_is_that_of_a_quadratic_program(kernel, nu):
    machine = KernelSVDD(kernel, nu=nu, tol=1e-10).fit(X)
    values = kernel(X)
    alpha = quadratic_program(values, nu)
    cross, centre = kernel(NEW, X) @ alpha, alpha @ values @ alpha
    squared_distance = kernel.diagonal(NEW) - 2 * cross + centre
    np.testing.assert_allclose(-machine.score_samples(NEW), squared_distance, atol=2e-6)
    free = (alpha > 1e-4) & (alpha < 1 / (nu * len(X)) - 1e-4)
    assert free.any()
    on_the_sphere = values.diagonal() - 2 * values @ alpha + centre
    np.testing.assert_allclose(machine.squared_radius_, on_the_sphere[free], atol=1e-5)


def test_weights_sum_to_one_and_nu_bounds_outliers():
    machine = KernelSVDD(Rbf(gamma=2.0), nu=0.3, tol=1e-8).fit(X)
    assert machine.weights_.sum() == pytest.approx(1)
    assert (machine.decision_function(X) < -1e-6).mean() <= 0.3
    assert len(machine.support_) / len(X) >= 0.3


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_decision_is_positive_inside(kernel):
    machine = KernelSVDD(kernel, nu=0.2).fit(X)
    (outlierness,), names = machine.expansions_, machine.expansion_names_
    assert names == ["outlier"]
    np.testing.assert_allclose(
        outlierness.score(NEW), -machine.decision_function(NEW), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(machine.predict(NEW), np.where(outlierness.score(NEW) > 0, -1, 1))
    assert machine.offset_ == -machine.squared_radius_


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k.decomposes], ids=repr)
def test_shares_are_conserved_and_the_bias_is_the_squared_radius(kernel):
    machine = KernelSVDD(kernel, nu=0.2).fit(X)
    (outlierness,) = machine.expansions_
    shared, _ = outlierness.decompose(NEW)
    assert (shared.bias == -machine.squared_radius_).all()
    assert machine.squared_radius_ > 0
    score = outlierness.score(NEW)
    np.testing.assert_allclose(shared.relevance.sum(1) + shared.bias, score, rtol=1e-10, atol=1e-13)
    assert shared.relevance.min() > -1e-12  # a part of a squared distance


@pytest.mark.parametrize(
    ("kernel", "feature"),
    [(Linear(), np.positive), (Hellinger(), np.sqrt)],
    ids=["linear", "hellinger"],
)
def test_shares_are_squared_distances_from_the_centre(kernel, feature):
    machine = KernelSVDD(kernel, nu=0.2).fit(X)
    centre = machine.weights_ @ feature(machine.support_vectors_)
    shared, _ = machine.expansions_[0].decompose(NEW)
    np.testing.assert_allclose(shared.relevance, (feature(NEW) - centre) ** 2, atol=1e-12)


def test_a_kernel_of_one_length_makes_it_the_one_class_svm():
    ours = KernelSVDD(Rbf(gamma=2.0), nu=0.3, tol=1e-10).fit(X)
    theirs = OneClassSVM(gamma=2.0, nu=0.3, tol=1e-10).fit(X)
    np.testing.assert_array_equal(ours.support_, theirs.support_)
    np.testing.assert_allclose(
        ours.decision_function(NEW),
        2 * theirs.decision_function(NEW) / theirs.dual_coef_.sum(),
        atol=1e-8,
    )


def test_samples_without_weight_are_as_if_not_there():
    weights = np.tile([0.0, 1.0, 2.0], 8)
    ours = KernelSVDD(Rbf(gamma=2.0), nu=0.3, tol=1e-10).fit(X, sample_weight=weights)
    repeated = np.repeat(np.arange(24), weights.astype(int))
    theirs = KernelSVDD(Rbf(gamma=2.0), nu=0.3, tol=1e-10).fit(X[repeated])
    np.testing.assert_allclose(ours.score_samples(NEW), theirs.score_samples(NEW), atol=1e-7)
    np.testing.assert_array_equal(ours.support_vectors_, X[ours.support_])
