"""Multiple kernel learning against a search over kernel weights."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from relprop.classical import (
    Columns,
    HistogramIntersection,
    KernelSVC,
    Linear,
    MultipleKernelSVC,
    Rbf,
)
from relprop.classical.kernel import Combined
from relprop.errors import InvalidInput, UnknownName

RNG = np.random.default_rng(5)
X, NEW = RNG.random((70, 6)), RNG.random((20, 6))
Y = np.where(X[:, 0] + 0.3 * X[:, 4] + 0.1 * RNG.normal(size=70) > 0.65, "b", "a")
THREE = np.digitize(X[:, 0] + 0.2 * X[:, 4], [0.4, 0.8])
GROUPS = [Columns(Linear(), slice(0, 3)), Columns(HistogramIntersection(), slice(3, 6))]


@parametrize_with_checks([MultipleKernelSVC(("linear", Rbf(gamma=0.1)), tol=1e-10)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def objective(weights, tables, y):
    """What MKL minimises: the optimum of the SVC for these weights, summed over pairs."""
    machine = SVC(kernel="precomputed", tol=1e-8).fit(np.tensordot(weights, tables, 1), y)
    total, classes = 0.0, machine.classes_
    for first in range(len(classes)):
        for second in range(first + 1, len(classes)):
            rows = np.flatnonzero(np.isin(y, classes[[first, second]]))
            table = np.tensordot(weights, tables, 1)[np.ix_(rows, rows)]
            pair = SVC(kernel="precomputed", tol=1e-8).fit(table, y[rows])
            alpha, inner = pair.dual_coef_[0], table[np.ix_(pair.support_, pair.support_)]
            total += np.abs(alpha).sum() - alpha @ inner @ alpha / 2
    return total


@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
@pytest.mark.parametrize("norm", [1.0, 1.5, 2.0, 6.0])
def test_no_other_weights_are_better(norm, y):
    machine = MultipleKernelSVC(GROUPS, norm=norm, weight_tol=1e-5, max_rounds=2000, tol=1e-8)
    learned = machine.fit(X, y).kernel_weights_
    tables = np.stack([kernel(X) for kernel in GROUPS])
    radius = 2 ** (1 / norm - 1)
    assert np.linalg.norm(learned, norm) == pytest.approx(radius)
    best = objective(learned, tables, y)
    for first in np.linspace(0, radius, 21):
        second = max(radius**norm - first**norm, 0) ** (1 / norm)
        assert objective(np.array([first, second]), tables, y) >= best * (1 - 1e-4)


def test_a_small_norm_is_more_choosy():
    shares = []
    for norm in (1.0, 2.0, 8.0, np.inf):
        weights = MultipleKernelSVC(GROUPS, norm=norm).fit(X, Y).kernel_weights_
        shares.append(weights[0] / weights.sum())
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0.5


def test_infinity_is_the_mean_of_the_kernels():
    machine = MultipleKernelSVC(GROUPS, norm=np.inf).fit(X, Y)
    mean = KernelSVC(Combined(tuple(GROUPS), (0.5, 0.5))).fit(X, Y)
    assert machine.n_rounds_ == 1
    np.testing.assert_allclose(machine.decision_function(NEW), mean.decision_function(NEW))


@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
def test_relevance_is_the_weighted_sum_over_kernels(y):
    machine = MultipleKernelSVC(GROUPS, decision_function_shape="ovo").fit(X, y)
    decisions = machine.decision_function(NEW).reshape(len(NEW), -1)
    for expansion, decision in zip(machine.expansions_, decisions.T, strict=True):
        shared, notes = expansion.decompose(NEW)
        assert notes.way == "exact"
        np.testing.assert_allclose(shared.relevance.sum(1) + shared.bias, decision, rtol=1e-8)
        parts = [
            weight * kernel.relevance(NEW, expansion.vectors, expansion.weights)
            for weight, kernel in zip(machine.kernel_weights_, GROUPS, strict=True)
        ]
        np.testing.assert_allclose(shared.relevance, sum(parts), rtol=1e-12)


def test_the_machine_that_is_left_has_the_weights_that_are_left():
    for rounds in (1, 3):
        machine = MultipleKernelSVC(GROUPS, norm=1.0, max_rounds=rounds, weight_tol=0.0)
        with pytest.warns(ConvergenceWarning, match=f"after {rounds} turns; raise max_rounds"):
            machine.fit(X, Y)
        again = KernelSVC(Combined(tuple(GROUPS), tuple(machine.kernel_weights_))).fit(X, Y)
        np.testing.assert_allclose(
            machine.decision_function(NEW), again.decision_function(NEW), rtol=1e-9
        )


def test_refusals():
    with pytest.raises(InvalidInput, match="norm must be a number from 1 to infinity, got 0.5"):
        MultipleKernelSVC(norm=0.5).fit(X, Y)
    with pytest.raises(InvalidInput, match="max_rounds must be an integer of 1 or more, got 0"):
        MultipleKernelSVC(max_rounds=0).fit(X, Y)
    with pytest.raises(InvalidInput, match="at least one kernel"):
        MultipleKernelSVC(()).fit(X, Y)
    with pytest.raises(UnknownName, match="unknown kernel 'gauss'"):
        MultipleKernelSVC(("linear", "gauss")).fit(X, Y)
