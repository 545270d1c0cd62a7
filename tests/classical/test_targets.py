"""Targets of classical models: labels, indices, weights, groups, and what is no target."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import relprop
from relprop.errors import InvalidTarget

X, Y = load_iris(return_X_y=True)
X, Y = X[::10], Y[::10]


def fitted(labels):
    return LogisticRegression(max_iter=300).fit(X, np.array(labels)[Y])


NAMED = fitted(["a", "b", "c"])
NUMBERED = fitted([1, 2, 3])
TWO = LogisticRegression().fit(X[Y < 2], np.array(["no", "yes"])[Y[Y < 2]])


def of_class(model, k):
    return model.coef_[k] * X


@pytest.mark.parametrize("target", ["b", 1, np.int64(1), np.str_("b")])
def test_a_class_by_its_label_or_its_index(target):
    assert np.allclose(relprop.explain(NAMED, X, target).relevance, of_class(NAMED, 1))


def test_where_labels_are_numbers_a_number_is_a_label():
    assert np.allclose(relprop.explain(NUMBERED, X, 1).relevance, of_class(NUMBERED, 0))
    with pytest.raises(InvalidTarget, match="there is no output 0|not understood.*classes 1, 2, 3"):
        relprop.explain(NUMBERED, X, 0)


@pytest.mark.parametrize(
    "target", [["a", "c", "b"] * 5, np.array([0, 2, 1] * 5), torch.tensor([0, 2, 1] * 5)]
)
def test_a_class_for_each_sample(target):
    expected = NAMED.coef_[[0, 2, 1] * 5] * X
    assert np.allclose(relprop.explain(NAMED, X, target).relevance, expected)


@pytest.mark.parametrize(
    "target",
    [
        [1.0, -1.0, 0.0],
        np.array([1.0, -1.0, 0.0]),
        np.tile([1.0, -1.0, 0.0], (15, 1)),
        lambda output: np.broadcast_to([1.0, -1.0, 0.0], output.shape),
    ],
    ids=["list", "array", "each", "callable"],
)
def test_weights_explain_a_margin(target):
    e = relprop.explain(NAMED, X, target)
    assert np.allclose(e.relevance, of_class(NAMED, 0) - of_class(NAMED, 1))
    scores = NAMED.decision_function(X)
    assert np.allclose(e.relevance.sum(1) + e.bias, scores[:, 0] - scores[:, 1])


def test_all_and_groups():
    e = relprop.explain(NAMED, X, "all")
    assert e.relevance.shape == (15, 3, 4) and e.bias.shape == (15, 3)
    grouped = relprop.explain(NAMED, X, {"ends": ["a", "c"], "middle": "b"})
    assert np.allclose(grouped.relevance[:, 0], e.relevance[:, 0] + e.relevance[:, 2])
    assert np.allclose(grouped.relevance[:, 1], e.relevance[:, 1])
    assert grouped.conservation_gap.max() < 1e-12


def test_the_first_of_two_classes_is_the_decision_turned():
    e = relprop.explain(TWO, X)
    assert e.target == "yes" and np.allclose(e.relevance, TWO.coef_ * X)
    assert np.allclose(relprop.explain(TWO, X, "no").relevance, -e.relevance)
    assert np.allclose(relprop.explain(TWO, X, 0).relevance, -e.relevance)
    each = relprop.explain(TWO, X, ["no"] * 7 + ["yes"] * 8)
    assert np.allclose(each.relevance[:7], -e.relevance[:7])
    assert np.allclose(each.relevance[7:], e.relevance[7:])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("d", "possible are the classes 'a', 'b', 'c'"),
        (3, "possible are the classes"),
        (["a", "b"], "one for each of 15 samples"),
        ([*"abd"] * 5, "there is no output 'd'"),
        ([1.0, 2.0], r"weights are \[2\] and the model's output is \[15, 3\]"),
        ([1.0, np.nan, 0.0], "weights must be finite"),
        ({"g": ["a", "z"]}, "there is no output 'z'"),
        (0.5, "not understood"),
    ],
)
def test_what_is_no_target(target, message):
    with pytest.raises(InvalidTarget, match=message):
        relprop.explain(NAMED, X, target)
