"""scikit-learn's neural networks against the same networks in torch, explained there."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import relprop
from relprop.classical import as_network
from relprop.errors import InvalidInput, UnsupportedOperation

X, Y = load_iris(return_X_y=True)
X, Y = X[::5], Y[::5]
VALUES, TARGETS = load_diabetes(return_X_y=True)
VALUES, TARGETS = VALUES[:40] * 10, TARGETS[:40] / 100

pytestmark = [
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer"),
    pytest.mark.filterwarnings("ignore:biases and stabilisers absorbed"),
]


def classifier(activation="relu", labels=Y):
    options = {"max_iter": 30, "random_state": 0, "hidden_layer_sizes": (8, 6)}
    return MLPClassifier(activation=activation, **options).fit(X[: len(labels)], labels)


def regressor(targets=TARGETS):
    return MLPRegressor(hidden_layer_sizes=(8,), max_iter=30, random_state=0).fit(VALUES, targets)


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "logistic"])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
@pytest.mark.parametrize("bias", ["absorb", "distribute"])
def test_as_the_same_network_in_torch(activation, epsilon, bias):
    model = classifier(activation)
    e = relprop.explain(model, X, rules=relprop.Epsilon(epsilon), bias=bias)
    rule = relprop.Epsilon(epsilon)
    net = relprop.explain(as_network(model), torch.from_numpy(X), rules=rule, bias=bias)
    assert np.allclose(e.output, net.output, rtol=1e-12)
    assert np.allclose(e.relevance, net.relevance, rtol=1e-9, atol=1e-12)
    assert np.allclose(e.bias, net.bias, atol=1e-12)
    assert np.allclose(e.totals()["stabiliser"], net.totals()["stabiliser"], atol=1e-12)
    assert e.conservation_gap.max() < 1e-12


def test_the_output_is_before_the_softmax():
    model = classifier()
    e = relprop.explain(model, X)
    shares = np.exp(e.output) / np.exp(e.output).sum(1, keepdims=True)
    assert np.allclose(shares, model.predict_proba(X))
    assert e.target == model.predict(X).tolist()
    assert [row.module for row in e.ledger] == ["layer 3", "layer 2", "layer 1"]


def test_two_classes_are_one_output_before_the_logistic_function():
    model = classifier(labels=np.array(["no", "yes"])[Y[Y < 2]])
    e = relprop.explain(model, X)
    assert np.allclose(1 / (1 + np.exp(-e.output)), model.predict_proba(X)[:, 1])
    assert np.allclose(relprop.explain(model, X, "no").relevance, -e.relevance)


@pytest.mark.parametrize("reference", [None, 2.0])
def test_regression(reference):
    model = regressor()
    e = relprop.explain(model, VALUES, reference=reference)
    assert np.allclose(e.output, model.predict(VALUES) - (reference or 0))
    assert e.conservation_gap.max() < 1e-12
    assert np.allclose(e.relevance.sum(1) + e.bias + e.totals()["stabiliser"], e.output, rtol=1e-12)


def test_several_values():
    model = regressor(np.stack([TARGETS, -TARGETS], 1))
    e = relprop.explain(model, VALUES, "all")
    assert e.relevance.shape == (40, 2, 10) and np.allclose(e.output, model.predict(VALUES))


def test_in_a_pipeline_after_a_scaler():
    model = make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=30, random_state=0))
    model.fit(X, Y)
    e = relprop.explain(model, X)
    alone = relprop.explain(model[-1], model[0].transform(X))
    assert np.allclose(e.relevance, alone.relevance)
    assert e.ledger[0].module == "mlpclassifier.layer 2"


def test_what_cannot_be_done_is_said():
    model = classifier()
    with pytest.raises(InvalidInput, match="as_network makes a torch network"):
        relprop.explain(model, X, rules="alpha-beta")
    with pytest.raises(InvalidInput, match="bias='weights' is for linear models"):
        relprop.explain(model, X, bias="weights")
    with pytest.raises(InvalidInput, match="not fitted"):
        as_network(MLPClassifier())
    with pytest.raises(UnsupportedOperation, match="not StandardScaler"):
        as_network(StandardScaler())


def test_a_regression_of_counts_is_refused_by_its_output_function():
    try:
        model = MLPRegressor(hidden_layer_sizes=(4,), loss="poisson", max_iter=20, random_state=0)
    except TypeError:
        pytest.skip("this version of scikit-learn has no such loss")
    model.fit(VALUES, np.arange(40) % 5)
    with pytest.raises(UnsupportedOperation, match="output function 'exp'"):
        relprop.explain(model, VALUES)
