"""Kernel machines against their host, and scikit-learn's own checks of estimators."""

import pickle
from itertools import combinations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

from relprop.classical import (
    HistogramIntersection,
    KernelOneClass,
    KernelSVC,
    KernelSVR,
    Linear,
    Rbf,
)
from relprop.classical.machines import pairwise_expansions
from relprop.errors import InvalidInput, NoRootFound, UnknownName

RNG = np.random.default_rng(3)
X, NEW = RNG.random((60, 4)), RNG.random((25, 4))
TWO = np.where(X[:, 0] * X[:, 1] > 0.2, "yes", "no")
THREE = np.digitize(X.sum(1), [1.7, 2.3])
VALUES = np.sin(3 * X[:, 0]) + X[:, 1]

# A fixed gamma, since repeated samples change the variance that "scale" reads, and a tolerance
# below which a repeated sample and one of weight 2 agree to the checks' seven digits.
CHECKED = [
    KernelSVC(Rbf(gamma=0.1), tol=1e-10),
    KernelSVC("histogram_intersection", tol=1e-10),
    KernelSVR(Rbf(gamma=0.1), tol=1e-10),
    KernelOneClass(Rbf(gamma=0.1), tol=1e-10),
]


def expected_failures(estimator):
    if estimator.kernel == "histogram_intersection":
        return {
            "check_class_weight_classifiers": "passes negative features in spite of positive_only"
        }
    return {}


@parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("shape", ["ovo", "ovr"])
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
def test_classifier_is_its_host(y, shape):
    ours = KernelSVC(Rbf(), C=3.0, decision_function_shape=shape).fit(X, y)
    theirs = SVC(kernel="rbf", C=3.0, decision_function_shape=shape).fit(X, y)
    np.testing.assert_allclose(
        ours.decision_function(NEW), theirs.decision_function(NEW), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_array_equal(ours.predict(NEW), theirs.predict(NEW))
    np.testing.assert_array_equal(ours.support_vectors_, theirs.support_vectors_)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_regression_and_one_class_are_their_hosts():
    ours, theirs = KernelSVR(Rbf(), epsilon=0.05).fit(X, VALUES), SVR(epsilon=0.05).fit(X, VALUES)
    np.testing.assert_allclose(ours.predict(NEW), theirs.predict(NEW), rtol=1e-6)
    ours, theirs = KernelOneClass(Rbf(), nu=0.3).fit(X), OneClassSVM(nu=0.3).fit(X)
    np.testing.assert_allclose(
        ours.decision_function(NEW), theirs.decision_function(NEW), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(ours.score_samples(NEW), theirs.score_samples(NEW), rtol=1e-6)
    np.testing.assert_array_equal(ours.predict(NEW), theirs.predict(NEW))


def test_two_classes_speak_for_the_second():
    machine = KernelSVC(HistogramIntersection()).fit(X, TWO)
    (expansion,) = machine.expansions_
    assert machine.expansion_names_ == [("yes", "no")]
    np.testing.assert_allclose(expansion.score(NEW), machine.decision_function(NEW), rtol=1e-9)
    np.testing.assert_array_equal(expansion.score(NEW) > 0, machine.predict(NEW) == "yes")


@pytest.mark.parametrize("host", [SVC(), NuSVC(nu=0.2)])
def test_pairs_of_classes_are_one_against_one(host):
    y = np.array(list("dacb"))[np.digitize(X.sum(1), [1.5, 2.0, 2.5])]
    machine = clone(host).set_params(gamma=0.8, decision_function_shape="ovo").fit(X, y)
    expansions, names = pairwise_expansions(machine, Rbf(gamma=0.8), machine.support_vectors_)
    scores = np.stack([expansion.score(NEW) for expansion in expansions], axis=1)
    np.testing.assert_allclose(scores, machine.decision_function(NEW), rtol=1e-8, atol=1e-10)
    assert names == list(combinations("abcd", 2))
    assert all(expansion.weights.all() for expansion in expansions)


def test_other_expansions_are_the_predictions():
    machine = KernelSVR("histogram_intersection").fit(X, VALUES)
    np.testing.assert_allclose(machine.expansions_[0].score(NEW), machine.predict(NEW), rtol=1e-9)
    assert machine.expansion_names_ == ["output"]
    machine = KernelOneClass("hellinger").fit(X)
    np.testing.assert_allclose(
        machine.expansions_[0].score(NEW), machine.decision_function(NEW), rtol=1e-9, atol=1e-11
    )
    assert machine.expansion_names_ == ["inlier"]


def test_samples_without_weight_are_as_if_not_there():
    weights = RNG.integers(0, 3, len(X)).astype(float)
    kept = weights > 0
    ours = KernelSVC(Rbf(gamma=1.0), tol=1e-8).fit(X, THREE, weights)
    without = SVC(gamma=1.0, tol=1e-8).fit(X[kept], THREE[kept], weights[kept])
    np.testing.assert_allclose(
        ours.decision_function(NEW), without.decision_function(NEW), rtol=1e-6, atol=1e-7
    )
    np.testing.assert_array_equal(ours.support_vectors_, X[ours.support_])
    assert (weights[ours.support_] > 0).all()
    repeated = np.repeat(np.arange(len(X)), weights.astype(int))
    twice = KernelSVR(Rbf(gamma=1.0), tol=1e-8).fit(X[repeated], VALUES[repeated])
    once = KernelSVR(Rbf(gamma=1.0), tol=1e-8).fit(X, VALUES, weights)
    np.testing.assert_allclose(once.predict(NEW), twice.predict(NEW), rtol=1e-5)


@pytest.mark.parametrize("kernel", [HistogramIntersection(), Rbf()], ids=repr)
def test_without_support_vectors_it_is_a_constant(kernel):
    machine = KernelSVR(kernel, epsilon=10.0).fit(X, VALUES)
    assert machine.support_vectors_.shape == (0, 4)
    (expansion,) = machine.expansions_
    np.testing.assert_array_equal(expansion.score(NEW), machine.predict(NEW))
    if kernel.decomposes:
        shared, _ = expansion.decompose(NEW)
        assert not shared.relevance.any()
        np.testing.assert_array_equal(shared.bias, machine.predict(NEW))
    else:
        with pytest.raises(NoRootFound, match="none of the 0 candidates"):
            expansion.decompose(NEW)


def test_class_weights_and_other_options_reach_the_host():
    options = {"C": 0.2, "class_weight": {"no": 5.0, "yes": 1.0}, "shrinking": False}
    ours = KernelSVC(Rbf(gamma=1.0), **options).fit(X, TWO)
    theirs = SVC(kernel="precomputed", **options).fit(rbf_kernel(X, gamma=1.0), TWO)
    np.testing.assert_allclose(
        ours.decision_function(NEW), theirs.decision_function(rbf_kernel(NEW, X, gamma=1.0))
    )


@pytest.mark.parametrize("machine", [*CHECKED, KernelSVC()], ids=repr)
def test_cloned_and_pickled(machine):
    fitted = clone(machine).fit(X, TWO == "yes")
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(NEW), fitted.predict(NEW))
    (one,), (other,) = fitted.expansions_, again.expansions_
    np.testing.assert_array_equal(one.decompose(X)[0].relevance, other.decompose(X)[0].relevance)


def test_in_a_pipeline_and_a_search():
    kernels = [Linear(), HistogramIntersection(), Rbf(gamma=2.0)]
    pipeline = make_pipeline(MinMaxScaler(clip=True), KernelSVC())
    search = GridSearchCV(pipeline, {"kernelsvc__kernel": kernels}, cv=3).fit(X, THREE)
    assert search.best_params_["kernelsvc__kernel"] in kernels
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_refusals():
    with pytest.raises(UnknownName, match="unknown kernel 'gauss'; there are: additive_chi2"):
        KernelSVC("gauss").fit(X, TWO)
    with pytest.raises(InvalidInput, match="Negative values in data passed to HistogramInters"):
        KernelSVC(HistogramIntersection()).fit(X - 1, TWO)
    with pytest.raises(ValueError, match="C.*must be"):
        KernelSVC(C=-1).fit(X, TWO)
