"""Estimators of scikit-learn against their own coefficients, slow loops, finite differences."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR, OneClassSVM

import relprop
from relprop.classical.kernels import HistogramIntersection, Rbf
from relprop.classical.machines import KernelOneClass, KernelSVC, KernelSVR
from relprop.errors import InvalidInput, NoRootFound, UnsupportedOperation

LABELS = np.array(["fern", "moss", "reed"])
EXACT = 1e-12


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X[::3], LABELS[y[::3]]


@pytest.fixture(scope="module")
def two(iris):
    X, y = iris
    return X[y != "moss"] + 0.3, y[y != "moss"]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X[:60] * 10, y[:60] / 100


CLASSIFIERS = [
    LinearDiscriminantAnalysis(),
    LinearSVC(),
    LogisticRegression(max_iter=500),
    Perceptron(),
    RidgeClassifier(),
    SGDClassifier(random_state=0),
    SVC(kernel="linear"),
    NuSVC(kernel="linear", nu=0.1),
]
REGRESSORS = [
    ElasticNet(alpha=0.01),
    Lasso(alpha=0.01),
    LinearRegression(),
    LinearSVR(max_iter=100_000),
    NuSVR(kernel="linear"),
    Ridge(),
    SGDRegressor(random_state=0),
    SVR(kernel="linear"),
]


def named(model):
    return type(model).__name__


@pytest.mark.parametrize("model", CLASSIFIERS, ids=named)
def test_two_classes_are_w_x(model, two):
    X, y = two
    model.fit(X, y)
    e = relprop.explain(model, X[:7])
    for i, x in enumerate(X[:7]):
        for d in range(X.shape[1]):
            assert e.relevance[i, d] == pytest.approx(np.ravel(model.coef_)[d] * x[d], abs=EXACT)
    assert np.allclose(e.bias, model.intercept_, rtol=EXACT)
    assert np.array_equal(e.output, model.decision_function(X[:7]))
    assert e.conservation_gap.max() < EXACT
    assert any("'reed' (positive)" in note for note in e.notes)


@pytest.mark.parametrize("model", [m for m in CLASSIFIERS if not hasattr(m, "nu")][:6], ids=named)
def test_the_predicted_of_three_classes(model, iris):
    X, y = iris
    model.fit(X, y)
    e = relprop.explain(model, X)
    predicted = np.searchsorted(model.classes_, model.predict(X))
    assert e.target == model.predict(X).tolist()
    assert np.allclose(e.relevance, model.coef_[predicted] * X, rtol=EXACT)
    assert np.allclose(e.bias, model.intercept_[predicted], rtol=EXACT)
    explained = model.decision_function(X).max(1)
    assert np.allclose(e.relevance.sum(1) + e.bias, explained, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("model", REGRESSORS, ids=named)
@pytest.mark.parametrize("reference", [None, 1.5])
def test_regression_is_w_x(model, reference, diabetes):
    X, y = diabetes
    model.fit(X, y)
    e = relprop.explain(model, X[:5], reference=reference)
    shift = reference or 0.0
    assert np.allclose(e.relevance, np.ravel(model.coef_) * X[:5], rtol=EXACT)
    assert np.allclose(e.bias, model.intercept_ - shift, rtol=EXACT)
    assert np.array_equal(e.output, model.predict(X[:5]) - shift)
    assert e.conservation_gap.max() < EXACT


def test_several_values_each_have_a_reference(diabetes):
    X, y = diabetes
    model = Ridge().fit(X, np.stack([y, -2 * y], 1))
    e = relprop.explain(model, X[:4], "all", reference=[1.0, 2.0])
    assert e.relevance.shape == (4, 2, 10)
    assert np.allclose(e.output, model.predict(X[:4]) - [1, 2])
    assert np.allclose(e.relevance.sum(2) + e.bias, e.output)
    with pytest.raises(relprop.errors.InvalidTarget, match="has 2 outputs .* choose: target=0"):
        relprop.explain(model, X[:4])


def test_one_class_by_stochastic_descent(diabetes):
    X, _ = diabetes
    model = SGDOneClassSVM(random_state=0).fit(X)
    e = relprop.explain(model, X[:4])
    assert np.allclose(e.relevance, model.coef_ * X[:4]) and e.target == "inlier"
    assert np.allclose(e.bias, -model.offset_)


def test_the_bias_spreads_evenly_or_by_weights(two):
    X, y = two
    model = LinearSVC().fit(X, y)
    w, b = model.coef_[0], model.intercept_[0]
    even = relprop.explain(model, X, bias="distribute")
    assert np.allclose(even.relevance, w * X + b / 4) and np.all(even.bias == 0)
    weighted = relprop.explain(model, X, bias="weights")
    assert np.allclose(weighted.relevance, w * X + b * w**2 / (w**2).sum())
    for e in (even, weighted):
        assert np.allclose(e.relevance.sum(1), e.output, rtol=EXACT)
        assert e.conservation_gap.max() < EXACT


def test_a_bias_without_weights_stays_apart(diabetes):
    X, y = diabetes
    e = relprop.explain(Lasso(alpha=1e6).fit(X, y), X, bias="weights")
    assert np.all(e.relevance == 0) and np.allclose(e.bias, y.mean())


@pytest.mark.parametrize(
    "model",
    [
        SVC(gamma=0.4),
        SVC(),
        SVC(kernel="poly", degree=2, coef0=0.5),
        SVC(kernel="sigmoid", gamma=0.01),
        NuSVC(nu=0.2, gamma="auto"),
    ],
    ids=str,
)
def test_taylor_relevance_is_the_hosts_slope_at_the_root(model, two):
    X, y = two
    model.fit(X, y)
    roots = X[15:18]
    e = relprop.explain(model, X[:3], root=roots)
    step = 1e-6
    for i in range(3):
        for d in range(4):
            moved = np.stack([roots[i], roots[i]])
            moved[:, d] += [step, -step]
            slope = np.subtract(*model.decision_function(moved)) / (2 * step)
            assert e.relevance[i, d] == pytest.approx(
                slope * (X[i, d] - roots[i, d]), rel=1e-5, abs=1e-8
            )
    assert np.allclose(e.relevance.sum(1) + e.totals()["lost"], e.output, rtol=1e-10)
    assert e.conservation_gap.max() < 1e-10


def test_roots_are_sought_among_the_candidates(two):
    X, y = two
    model = SVC().fit(X, y)
    here = relprop.explain(model, X[:4], candidates=X)
    others = X[model.decision_function(X) > 0][:1]  # a single one: the root lies on the way to it
    there = relprop.explain(model, X[:4], candidates=others)
    assert not np.allclose(here.relevance, there.relevance)
    with pytest.raises(NoRootFound):
        relprop.explain(model, X[:4], candidates=X[:4])


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_pairs_of_classes(kernel, iris):
    X, y = iris
    model = SVC(kernel=kernel, decision_function_shape="ovo").fit(X, y)
    pairs = [("fern", "moss"), ("fern", "reed"), ("moss", "reed")]
    everything = relprop.explain(model, X, "all")
    assert np.array_equal(everything.output, model.decision_function(X))
    assert everything.conservation_gap.max() < 1e-10
    for k, (first, second) in enumerate(pairs):
        e = relprop.explain(model, X, (first, second))
        assert np.allclose(e.relevance, everything.relevance[:, k])
        turned = relprop.explain(model, X, (second, first))
        assert np.allclose(turned.relevance, -e.relevance)
        by_index = relprop.explain(model, X, tuple(np.searchsorted(LABELS, (first, second))))
        assert np.array_equal(by_index.relevance, e.relevance)
        if kernel == "linear":
            assert np.allclose(e.relevance, model.coef_[k] * X)


def test_votes_are_refused_with_the_remedy(iris):
    X, y = iris
    for model in (SVC().fit(X, y), KernelSVC(Rbf(0.5)).fit(X, y)):
        with pytest.raises(
            relprop.errors.InvalidTarget, match=r"target=\('fern', 'moss'\).*OneVsRestClassifier"
        ):
            relprop.explain(model, X)


def test_a_machine_fitted_to_sparse_data_is_the_same(two):
    X, y = two
    thick, thin = SVC(gamma=0.4).fit(X, y), SVC(gamma=0.4).fit(sparse.csr_array(X), y)
    e = relprop.explain(thin, sparse.csr_array(X), candidates=X)
    assert isinstance(e.relevance, sparse.csr_array)
    expected = relprop.explain(thick, X, candidates=X).relevance
    assert np.allclose(e.relevance.toarray(), expected, atol=1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_one_class_machines(kernel, two):
    X, _ = two
    model = OneClassSVM(kernel=kernel, nu=0.2).fit(X)
    e = relprop.explain(model, X, candidates=X if kernel == "rbf" else None)
    assert e.target == "inlier" and np.array_equal(e.output, model.decision_function(X))
    assert e.conservation_gap.max() < 1e-10


@pytest.mark.parametrize("gamma", ["scale", 0.3])
def test_regression_with_a_root_where_it_has_the_reference_value(gamma, diabetes):
    X, y = diabetes
    model = SVR(gamma=gamma).fit(X, y)
    e = relprop.explain(model, X[:6], reference=1.5, candidates=X)
    assert np.array_equal(e.output, model.predict(X[:6]) - 1.5)
    assert e.conservation_gap.max() < 1e-10
    with pytest.raises(NoRootFound):
        relprop.explain(model, X[:6], reference=1e3, candidates=X)


def test_machines_of_ours_are_explained_as_the_hosts(two, diabetes):
    X, y = two
    ours, theirs = KernelSVC(Rbf(0.4)).fit(X, y), SVC(gamma=0.4).fit(X, y)
    mine, host = (relprop.explain(model, X, candidates=X) for model in (ours, theirs))
    assert np.allclose(mine.relevance, host.relevance, atol=1e-3)
    assert any("'reed' (positive)" in note for note in mine.notes)
    values, targets = diabetes
    fitted = KernelSVR(Rbf(0.4)).fit(values, targets)
    e = relprop.explain(fitted, values, reference=1.5)
    assert np.allclose(e.output, fitted.predict(values) - 1.5)
    inliers = KernelOneClass(HistogramIntersection(), nu=0.3).fit(X)
    e = relprop.explain(inliers, X)
    assert np.allclose(e.relevance.sum(1) + e.bias, inliers.decision_function(X), rtol=1e-10)


def test_one_against_rest_is_each_binary_machine(iris):
    X, y = iris
    model = OneVsRestClassifier(SVC(gamma=0.4)).fit(X, y)
    e = relprop.explain(model, X, "all", candidates=X)
    assert np.allclose(e.output, model.decision_function(X))
    for k, machine in enumerate(model.estimators_):
        alone = relprop.explain(machine, X, candidates=X)
        assert np.allclose(e.relevance[:, k], alone.relevance)
    predicted = relprop.explain(model, X, candidates=X)
    assert predicted.target == model.predict(X).tolist()
    assert {row.module for row in predicted.ledger} == set(LABELS)


def test_calibration_is_the_mean_of_what_is_inside(iris, two):
    for X, y in (iris, two):
        model = CalibratedClassifierCV(LinearSVC(), cv=3).fit(X, y)
        e = relprop.explain(model, X, "reed")
        folds = [fold.estimator for fold in model.calibrated_classifiers_]
        assert np.allclose(e.relevance, np.mean([fold.coef_[-1] * X for fold in folds], 0))
        assert np.allclose(e.output, np.mean([fold.decision_function(X) for fold in folds], 0))
        assert any("mean of 3 decision functions" in note for note in e.notes)
    X, y = iris
    model = CalibratedClassifierCV(LinearSVC(), cv=3).fit(X, y)
    assert relprop.explain(model, X).target == model.predict(X).tolist()


def test_a_search_is_its_best_model(two):
    X, y = two
    search = GridSearchCV(LinearSVC(), {"C": [0.1, 1]}, cv=2).fit(X, y)
    e = relprop.explain(search, X)
    assert np.allclose(e.relevance, search.best_estimator_.coef_ * X)
    with pytest.raises(UnsupportedOperation, match="refit=False"):
        relprop.explain(GridSearchCV(LinearSVC(), {"C": [1]}, cv=2, refit=False).fit(X, y), X)


def test_a_frozen_model_is_the_model(two):
    FrozenEstimator = pytest.importorskip("sklearn.frozen").FrozenEstimator
    X, y = two
    model = LinearSVC().fit(X, y)
    assert np.allclose(relprop.explain(FrozenEstimator(model), X).relevance, model.coef_ * X)


class Shifted(LinearSVC):
    def decision_function(self, X):
        return super().decision_function(X) + 1


class Renamed(LinearSVC):
    pass


@pytest.mark.filterwarnings("ignore:Label 0 is present")
def test_what_is_unknown_is_refused_by_name(two):
    X, y = two
    with pytest.raises(UnsupportedOperation, match="estimator RandomForestClassifier.*LinearSVC"):
        relprop.explain(RandomForestClassifier(3).fit(X, y), X)
    with pytest.raises(UnsupportedOperation, match="Shifted inherits from LinearSVC and has a dec"):
        relprop.explain(Shifted().fit(X, y), X)
    assert relprop.explain(Renamed().fit(X, y), X).conservation_gap.max() < EXACT
    with pytest.raises(UnsupportedOperation, match="keeps no support vectors.*KernelSVC"):
        relprop.explain(SVC(kernel=Rbf(0.4)).fit(X, y), X)
    constant = OneVsRestClassifier(LinearSVC()).fit(X, np.stack([np.ones(len(X)), y == "reed"], 1))
    with pytest.raises(UnsupportedOperation, match="_ConstantPredictor"):
        relprop.explain(constant, X, "all")


def test_options_that_a_model_cannot_use_are_refused(two, diabetes):
    X, y = two
    for option in ({"candidates": X}, {"root": X}, {"reference": 1.0}):
        with pytest.raises(InvalidInput, match=f"{next(iter(option))}= is for"):
            relprop.explain(LinearSVC().fit(X, y), X, **option)
    for bias in ("weights", "distribute"):
        with pytest.raises(InvalidInput, match="nothing to spread"):
            relprop.explain(SVC().fit(X, y), X, bias=bias)
    with pytest.raises(InvalidInput, match="linear kernel"):
        relprop.explain(KernelSVC(HistogramIntersection()).fit(X, y), X, bias="weights")
    values, targets = diabetes
    for reference in ("high", np.nan, [1, 2, 3]):
        with pytest.raises(InvalidInput, match="reference must be a number"):
            relprop.explain(Ridge().fit(values, targets), values, reference=reference)


def test_one_note_says_how_much_the_first_order_leaves_out(iris):
    X, y = iris
    e = relprop.explain(SVC(gamma=0.4).fit(X, y), X, "all", candidates=X)
    (note,) = [note for note in e.notes if "first order" in note]
    share = np.median(np.abs(e.totals()["lost"]) / np.abs(e.totals()["received"]))
    assert note.endswith(f"more than {share:.2g} of the score") and share > 0.01


@pytest.mark.parametrize("bias", ["absorb", "distribute"])
def test_an_exact_machine_of_ours_in_every_direction(bias, two):
    X, y = two
    machine = KernelSVC(HistogramIntersection()).fit(X, y)
    e = relprop.explain(machine, X, bias=bias)
    assert np.allclose(e.output, machine.decision_function(X), rtol=1e-10)
    (expansion,) = machine.expansions_
    for i, x in enumerate(X[:3]):
        for d in range(4):
            shares = zip(expansion.weights, expansion.vectors, strict=True)
            alone = sum(weight * min(x[d], vector[d]) for weight, vector in shares)
            spread = expansion.bias / 4 if bias == "distribute" else 0.0
            assert e.relevance[i, d] == pytest.approx(alone + spread, rel=1e-10, abs=1e-12)
    turned = relprop.explain(machine, X, "fern", bias=bias)
    assert np.allclose(turned.relevance, -e.relevance) and np.allclose(turned.bias, -e.bias)
    doubled = relprop.explain(machine, X, [2.0], bias=bias)
    assert np.allclose(doubled.relevance, 2 * e.relevance)
    assert max(one.conservation_gap.max() for one in (e, turned, doubled)) < 1e-10
