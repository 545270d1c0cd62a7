"""Pipelines backwards: against models folded into one, slow loops, and a step that lies."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC

import relprop
from relprop.classical import Shared, step
from relprop.classical.affine import share_affine, share_diagonal
from relprop.classical.registry import STEPS
from relprop.errors import InvalidInput, UnsupportedOperation

X, Y = load_diabetes(return_X_y=True)
X, Y = X[:80] * 10 + 1, Y[:80] / 100
TABLE = pd.DataFrame(
    {
        "size": X[:, 0],
        "colour": np.array(["red", "green", "blue"])[np.arange(80) % 3],
        "age": X[:, 1],
        "grade": np.array(["low", "high"])[np.arange(80) % 2],
    }
)


def folded(model):
    """w and b of a pipeline that is affine, from its predictions alone."""
    width = X.shape[1]
    b = model.predict(np.zeros((1, width)))[0]
    return model.predict(np.eye(width)) - b, b


AFFINE = {
    "standard": StandardScaler(),
    "no mean": StandardScaler(with_mean=False),
    "no deviation": StandardScaler(with_std=False),
    "robust": RobustScaler(),
    "robust, no centre": RobustScaler(with_centering=False, with_scaling=False),
    "minmax": MinMaxScaler((-1, 2)),
    "maxabs": MaxAbsScaler(),
    "pca": PCA(4),
    "whitened": PCA(4, whiten=True),
    "incremental": IncrementalPCA(4, whiten=True),
    "svd": TruncatedSVD(4, random_state=0),
    "chosen": SelectKBest(k=3),
}


@pytest.mark.parametrize("name", AFFINE)
def test_without_centring_a_pipeline_is_its_one_linear_model(name):
    model = make_pipeline(AFFINE[name], Ridge()).fit(X, Y)
    w, b = folded(model)
    away = X[np.all(model[0].transform(X) != 0, axis=1)]  # an output of 0 has nothing to share
    assert len(away) > 30
    e = relprop.explain(model, away, centred=False)
    assert np.allclose(e.relevance, w * away, rtol=1e-9, atol=1e-9)
    assert np.allclose(e.bias, b, rtol=1e-9)
    assert e.conservation_gap.max() < 1e-12


@pytest.mark.parametrize(
    ("name", "centre"),
    [
        ("standard", X.mean(0)),
        ("robust", np.median(X, 0)),
        ("minmax", X.min(0) + np.ptp(X, 0) / 3),
        ("pca", X.mean(0)),
        ("incremental", X.mean(0)),
    ],
)
def test_centred_a_step_reads_the_difference_to_its_centre(name, centre):
    """For MinMaxScaler((-1, 2)) the value that becomes 0 lies a third above the minimum."""
    model = make_pipeline(AFFINE[name], Ridge()).fit(X, Y)
    w, _ = folded(model)
    e = relprop.explain(model, X)
    assert np.allclose(e.relevance, w * (X - centre), rtol=1e-9, atol=1e-9)
    assert np.allclose(e.bias, model[-1].intercept_)
    assert e.conservation_gap.max() < 1e-12


def test_scalers_pass_relevance_of_a_kernel_machine_as_it_is():
    labels = np.greater(Y, np.median(Y))
    model = make_pipeline(StandardScaler(), SVC(gamma=0.1)).fit(X, labels)
    e = relprop.explain(model, X[:5], candidates=X)
    scaled = model[0].transform(X)
    alone = relprop.explain(model[-1], scaled[:5], candidates=scaled)
    assert np.allclose(e.relevance, alone.relevance, rtol=1e-12)
    root = X[labels][0]
    e = relprop.explain(model, X[:5], root=root)
    alone = relprop.explain(model[-1], scaled[:5], root=model[0].transform(root[None])[0])
    assert np.allclose(e.relevance, alone.relevance, rtol=1e-12)


def by_loops(x, W, b, R, epsilon):
    relevance = np.zeros_like(x)
    bias, stabiliser, lost = (np.zeros(len(x)) for _ in range(3))
    for i in range(len(x)):
        for k in range(len(W)):
            z = sum(x[i, d] * W[k, d] for d in range(x.shape[1])) + b[k]
            bottom = z + (epsilon if z >= 0 else -epsilon)
            if bottom == 0:
                lost[i] += R[i, k]
                continue
            for d in range(x.shape[1]):
                relevance[i, d] += x[i, d] * W[k, d] / bottom * R[i, k]
            bias[i] += b[k] / bottom * R[i, k]
            stabiliser[i] += (bottom - z) / bottom * R[i, k]
    return relevance, bias, stabiliser, lost


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("thin", [False, True])
def test_an_affine_step_against_loops(epsilon, thin):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4)) * (rng.random((5, 4)) > 0.4)
    W, b, R = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=(5, 3))
    b[1], x[2] = 0, 0  # an output that is exactly 0
    z = x @ W.T + b
    shared = share_affine(sparse.csr_array(x) if thin else x, W, b, z, R, epsilon)
    relevance = shared.relevance.toarray() if thin else shared.relevance
    found = (relevance, shared.bias, shared.stabiliser, shared.lost)
    for mine, expected in zip(found, by_loops(x, W, b, R, epsilon), strict=True):
        assert np.allclose(mine, expected, rtol=1e-10, atol=1e-12)
    assert (shared.lost[2] == R[2, 1]) == (epsilon == 0)


def test_a_diagonal_step_is_an_affine_one_with_a_diagonal():
    rng = np.random.default_rng(1)
    x, R = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    scale, offset = rng.normal(size=4), rng.normal(size=4)
    one = share_diagonal(x, scale, offset, x * scale + offset, R, 0.1)
    other = share_affine(x, np.diag(scale), offset, x * scale + offset, R, 0.1)
    assert np.allclose(one.relevance, other.relevance)
    assert np.allclose(one.bias, other.bias) and np.allclose(one.stabiliser, other.stabiliser)


def test_epsilon_is_booked_as_the_stabiliser():
    model = make_pipeline(PCA(4), Ridge()).fit(X, Y)
    plain = relprop.explain(model, X)
    damped = relprop.explain(model, X, rules=relprop.Epsilon(0.5))
    assert np.all(plain.totals()["stabiliser"] == 0)
    assert np.abs(damped.totals()["stabiliser"]).min() > 0
    assert np.abs(damped.relevance).sum() < np.abs(plain.relevance).sum()
    assert damped.conservation_gap.max() < 1e-12


@pytest.mark.parametrize(
    "chosen", [SelectKBest(k=3), VarianceThreshold(0.1), SelectFromModel(Ridge()), RFE(Ridge())]
)
def test_a_selection_moves_relevance_back(chosen):
    model = make_pipeline(chosen, Ridge()).fit(X, Y)
    e = relprop.explain(model, X)
    kept = model[0].get_support()
    assert np.allclose(e.relevance[:, kept], model[-1].coef_ * X[:, kept])
    assert np.all(e.relevance[:, ~kept] == 0)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_normalisation_lets_relevance_through(norm):
    model = make_pipeline(Normalizer(norm), Ridge()).fit(X, Y)
    e = relprop.explain(model, X)
    assert np.allclose(e.relevance, model[-1].coef_ * model[0].transform(X))


@pytest.mark.parametrize(
    "function",
    [FunctionTransformer(), FunctionTransformer(np.log1p), QuantileTransformer(n_quantiles=10)],
)
def test_functions_of_one_number_let_relevance_through(function):
    values = np.abs(X)
    model = make_pipeline(function, Ridge()).fit(values, Y)
    e = relprop.explain(model, values)
    assert np.allclose(e.relevance, model[-1].coef_ * model[0].transform(values))


@pytest.mark.filterwarnings("ignore:Skipping features")
def test_missing_values_get_the_relevance_of_what_was_filled_in():
    holed = X.copy()
    holed[::7, 2] = np.nan
    holed[:, 5] = np.nan
    model = make_pipeline(SimpleImputer(), Ridge()).fit(holed, Y)
    e = relprop.explain(model, holed)
    kept = np.arange(10) != 5
    assert np.allclose(e.relevance[:, kept], model[-1].coef_ * model[0].transform(holed))
    assert np.all(e.relevance[:, 5] == 0) and e.conservation_gap.max() < 1e-12


@pytest.mark.parametrize("drop", [None, "first"])
def test_a_column_of_categories_is_the_sum_of_them(drop):
    words = TABLE[["colour", "grade"]]
    model = make_pipeline(OneHotEncoder(drop=drop), Ridge()).fit(words, Y)
    e = relprop.explain(model, words)
    names = model[0].get_feature_names_out()
    products = model[0].transform(words).toarray() * model[-1].coef_
    for d, column in enumerate(["colour", "grade"]):
        mine = [k for k, name in enumerate(names) if name.startswith(column)]
        assert np.allclose(e.relevance[:, d], products[:, mine].sum(1))
    assert e.names == ["colour", "grade"]


def test_ordered_categories_let_relevance_through():
    words = TABLE[["colour", "grade"]]
    model = make_pipeline(OrdinalEncoder(), Ridge()).fit(words, Y)
    e = relprop.explain(model, words)
    assert np.allclose(e.relevance, model[0].transform(words) * model[-1].coef_)


def columned(**options):
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(StandardScaler(), PCA(2)), ["size", "age"]),
            ("words", OneHotEncoder(), ["colour"]),
            ("again", MinMaxScaler(), slice("age", "age")),
            ("left", "drop", ["grade"]),
        ],
        **options,
    )


def test_columns_go_back_to_where_they_came_from():
    model = make_pipeline(columned(), Ridge()).fit(TABLE, Y)
    e = relprop.explain(model, TABLE)
    w, features = model[-1].coef_, np.asarray(model[0].transform(TABLE))
    numbers = model[0].named_transformers_["numbers"]
    slopes = w[:2] @ numbers[-1].components_ / numbers[0].scale_
    expected = np.zeros((80, 4))
    centred = TABLE[["size", "age"]].to_numpy() - numbers[0].mean_
    expected[:, [0, 2]] = centred * slopes
    expected[:, 1] = features[:, 2:5] @ w[2:5]
    expected[:, 2] += features[:, 5] * w[5]
    assert np.allclose(e.relevance, expected)
    assert e.conservation_gap.max() < 1e-12 and e.names == list(TABLE.columns)
    assert "columntransformer.numbers.pca" in [row.module for row in e.ledger]


def test_columns_by_mask_index_and_what_remains():
    parts = [("mask", StandardScaler(), np.arange(10) < 2), ("index", "passthrough", [3, 2])]
    model = make_pipeline(ColumnTransformer(parts, remainder=MaxAbsScaler()), Ridge()).fit(X, Y)
    e = relprop.explain(model, X, centred=False)
    w, b = folded(model)
    assert np.allclose(e.relevance, w * X) and np.allclose(e.bias, b)


def test_frames_between_steps_are_as_arrays():
    plain = make_pipeline(columned(sparse_threshold=0), Ridge()).fit(TABLE, Y)
    parts = [("colour", OneHotEncoder(sparse_output=False), ["colour"])]
    framed = make_pipeline(
        ColumnTransformer(parts, remainder="drop").set_output(transform="pandas"), Ridge()
    ).fit(TABLE, Y)
    assert relprop.explain(framed, TABLE).conservation_gap.max() < 1e-12
    assert relprop.explain(plain, TABLE).conservation_gap.max() < 1e-12


def test_a_union_adds_what_its_parts_give_back():
    union = FeatureUnion(
        [("pca", PCA(3)), ("same", "passthrough"), ("none", "drop"), ("svd", TruncatedSVD(2))],
        transformer_weights={"pca": 3.0},
    )
    model = make_pipeline(union, Ridge()).fit(X, Y)
    w, b = folded(model)
    e = relprop.explain(model, X, centred=False)
    assert np.allclose(e.relevance, w * X) and np.allclose(e.bias, b)
    assert e.conservation_gap.max() < 1e-12


def test_pipelines_in_pipelines_and_steps_that_do_nothing():
    inner = Pipeline([("scale", StandardScaler()), ("nothing", "passthrough")])
    model = Pipeline([("first", inner), ("none", None), ("last", make_pipeline(PCA(3), Ridge()))])
    model.fit(X, Y)
    w, _ = folded(model)
    e = relprop.explain(model, X, centred=False)
    assert np.allclose(e.relevance, w * X)
    modules = [row.module for row in e.ledger]
    assert modules == ["last.ridge", "last.pca", "first.scale"]


def test_sparse_in_sparse_out():
    thin = sparse.random_array((40, 12), density=0.3, rng=0, format="csr")
    y = np.arange(40) % 2
    model = make_pipeline(MaxAbsScaler(), TruncatedSVD(4, random_state=0), LogisticRegression())
    model.fit(thin, y)
    e = relprop.explain(model, thin)
    whole = relprop.explain(model, thin.toarray())
    assert isinstance(e.relevance, sparse.csr_array)
    assert np.allclose(e.relevance.toarray(), whole.relevance)
    assert relprop.explain(model, thin, "all").relevance.shape == (40, 1, 12)


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return 2 * X

    def redistribute(self, inputs, relevance):
        assert np.shape(inputs) == relevance.shape
        return Shared.exact(relevance)


class Recording(Doubled):
    """Counts how often it runs; a run keeps its own way back."""

    runs = 0

    def transform(self, X):
        type(self).runs += 1
        return super().transform(X)

    def record(self, X):
        return SimpleNamespace(output=self.transform(X), redistribute=Shared.exact)

    def redistribute(self, inputs, relevance):
        raise AssertionError("the recording has the way back")


class Mixed(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[:, ::-1]


class Louder(StandardScaler):
    def transform(self, X, copy=None):
        return 2 * super().transform(X)


def test_a_transformer_of_the_users_own():
    model = make_pipeline(Doubled(), Ridge()).fit(X, Y)
    e = relprop.explain(model, X)
    assert np.allclose(e.relevance, 2 * X * model[-1].coef_)
    assert [row.rule for row in e.ledger] == ["w x", "redistribute"]


def test_a_transformer_that_records_runs_once():
    sides = FeatureUnion([("one", Recording()), ("other", Recording())])
    model = make_pipeline(sides, Ridge()).fit(X, Y)
    Recording.runs = 0
    e = relprop.explain(model, X)
    assert Recording.runs == 2
    w = model[-1].coef_
    assert np.allclose(e.relevance, 2 * X * (w[:10] + w[10:]))


def test_a_union_of_frames_has_the_hosts_names():
    union = FeatureUnion([("one", StandardScaler()), ("other", MinMaxScaler())])
    frame = TABLE[["size", "age"]]
    columns = ColumnTransformer([("chosen", "passthrough", ["other__age", "one__size"])])
    model = make_pipeline(union, columns, Ridge())
    model.set_output(transform="pandas").fit(frame, Y)
    e = relprop.explain(model, frame)
    w = model[-1].coef_
    expected = [StandardScaler().fit_transform(frame)[:, 0] * w[1], None]
    expected[1] = MinMaxScaler().fit_transform(frame)[:, 1] * w[0]
    assert np.allclose(e.relevance, np.stack(expected, 1))


def test_a_step_without_a_way_back_is_refused_by_name():
    for transformer in (Mixed(), Nystroem(n_components=5)):
        model = make_pipeline(transformer, Ridge()).fit(X, Y)
        with pytest.raises(UnsupportedOperation, match=f"{type(transformer).__name__}; give it a"):
            relprop.explain(model, X)
    with pytest.raises(UnsupportedOperation, match="Louder inherits from StandardScaler"):
        relprop.explain(make_pipeline(Louder(), Ridge()).fit(X, Y), X)
    model = make_pipeline(FunctionTransformer(lambda x: x @ np.ones((10, 2))), Ridge()).fit(X, Y)
    with pytest.raises(UnsupportedOperation, match="may mix features"):
        relprop.explain(model, X)


def test_a_step_that_loses_relevance_shows_in_the_ledger(monkeypatch):
    monkeypatch.setattr("relprop.classical.registry.STEPS", STEPS)
    monkeypatch.setitem(STEPS, Mixed, None)  # taken back at the end

    @step(Mixed, rule="half")
    def half(transformer, inputs, outputs, relevance, options):
        return Shared.exact(relevance[:, ::-1] / 2)

    e = relprop.explain(make_pipeline(Mixed(), LinearRegression()).fit(X, Y), X)
    missing = e.ledger[1].remainder.numpy()
    assert np.allclose(missing, e.ledger[1].received.numpy() / 2)
    assert np.abs(missing).max() > 0.1 and e.conservation_gap.max() > 0.01


def test_what_a_step_refuses_is_said():
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, Y)
    holed = X.copy()
    holed[0, 0] = np.nan
    with pytest.raises(InvalidInput, match="Pipeline does not take these inputs: .*NaN"):
        relprop.explain(model, holed)
