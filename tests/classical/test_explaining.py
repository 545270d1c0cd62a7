"""The front door for scikit-learn: inputs of every kind, options, what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import relprop
from relprop.errors import InvalidInput

X, Y = load_iris(return_X_y=True)
X, Y = X[:100:5], Y[:100:5]
MODEL = make_pipeline(StandardScaler(), LinearSVC()).fit(X, Y)


@pytest.mark.parametrize(
    "inputs",
    [X.tolist(), X.astype(np.float32), torch.from_numpy(X), torch.from_numpy(X).requires_grad_()],
    ids=["lists", "single precision", "tensor", "tensor with gradients"],
)
def test_inputs_of_every_kind(inputs):
    expected = relprop.explain(MODEL, X)
    e = relprop.explain(MODEL, inputs)
    assert np.allclose(e.relevance, expected.relevance, atol=1e-6)
    assert e.relevance.dtype == np.float64 and e.names is None


def test_a_frame_gives_its_names():
    frame = pd.DataFrame(X, columns=["w", "x", "y", "z"])
    model = make_pipeline(StandardScaler(), LinearSVC()).fit(frame, Y)
    e = relprop.explain(model, frame)
    assert e.names == ["w", "x", "y", "z"] and isinstance(e.relevance, np.ndarray)


def test_samples_are_explained_by_themselves():
    machine = make_pipeline(StandardScaler(), SVC()).fit(X, Y)
    for model, options in ((MODEL, {}), (machine, {"candidates": X})):
        whole = relprop.explain(model, X, **options)
        for i in range(0, 20, 7):
            one = relprop.explain(model, X[i : i + 1], **options)
            assert np.allclose(one.relevance[0], whole.relevance[i], rtol=1e-8, atol=1e-8)


def test_permuted_columns_permute_relevance():
    order = [2, 0, 3, 1]
    machine, turned = SVC(gamma=0.2).fit(X, Y), SVC(gamma=0.2).fit(X[:, order], Y)
    e = relprop.explain(machine, X, candidates=X)
    other = relprop.explain(turned, X[:, order], candidates=X[:, order])
    assert np.allclose(e.relevance[:, order], other.relevance, atol=1e-4)


def test_the_model_is_left_as_it_was():
    machine = SVC(decision_function_shape="ovr", break_ties=True).fit(*load_iris(return_X_y=True))
    before = dict(vars(machine))
    relprop.explain(machine, X, "all")
    assert vars(machine).keys() == before.keys()
    assert all(vars(machine)[name] is before[name] for name in before)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (X[:, :2], "expecting 4 features"),
        (X[0], "Expected 2D array"),
        (list(X[0]), r"must be samples, \[n, d\]"),
        (np.where(X > 6, np.nan, X), "contains NaN"),
        (np.array([["a", "b", "c", "d"]]), "could not convert string"),
        ("text", "give a list of texts"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(InvalidInput, match=message):
        relprop.explain(MODEL, inputs)


@pytest.mark.parametrize("model", [LinearSVC(), make_pipeline(StandardScaler(), LinearSVC())])
def test_an_unfitted_model(model):
    with pytest.raises(InvalidInput, match="not fitted"):
        relprop.explain(model, X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["a"]}, "layers= is for networks"),
        ({"flat_until": "a"}, "flat_until= is for networks"),
        ({"batch_size": 3}, "batch_size= is for networks"),
        ({"differentiable": True}, "differentiable= is for networks"),
        ({"method": "occlusion"}, "method='occlusion' is for networks; Pipeline"),
        ({"rules": "thesis"}, r"takes relprop.Epsilon\(epsilon\)"),
        ({"rules": relprop.Epsilon(0.1, relative=True)}, "takes relprop.Epsilon"),
        ({"bias": "ignore"}, "bias must be one of absorb, distribute, weights"),
        ({"centered": True}, "has no option 'centered'"),
    ],
)
def test_options_of_networks_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        relprop.explain(MODEL, X, **options)


def test_what_is_for_networks_says_so():
    with pytest.raises(InvalidInput, match=r"LinearRegression is no network: relprop.explain"):
        relprop.record(LinearRegression().fit(X, Y), torch.from_numpy(X))
    with pytest.raises(InvalidInput, match="LinearRegression is no network"):
        relprop.Explainer(LinearRegression().fit(X, Y))(torch.from_numpy(X))


def test_a_transformer_alone_is_no_model():
    with pytest.raises(relprop.errors.UnsupportedOperation, match="estimator StandardScaler"):
        relprop.explain(StandardScaler().fit(X), X)
