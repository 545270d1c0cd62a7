"""Fitted estimators as decisions with a way back; linear models (appendix A.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import discriminant_analysis, linear_model, svm

from ..errors import InvalidInput
from .affine import contributions, dense, numbers
from .registry import estimator
from .shared import Floats, Shared
from .walking import Decided, Options, Walk, line

_REGRESSORS = (
    *("ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "HuberRegressor", "Lars"),
    *("LarsCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "Ridge", "RidgeCV"),
    *("LinearRegression", "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso"),
    *("MultiTaskLassoCV", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV"),
    *("PassiveAggressiveRegressor", "QuantileRegressor", "SGDRegressor", "TheilSenRegressor"),
)
_CLASSIFIERS = (
    *("LogisticRegression", "LogisticRegressionCV", "PassiveAggressiveClassifier", "Perceptron"),
    *("RidgeClassifier", "RidgeClassifierCV", "SGDClassifier"),
)


def _public(names: tuple[str, ...]) -> list[type]:
    """Those that this version of scikit-learn has."""
    return [getattr(linear_model, name) for name in names if hasattr(linear_model, name)]


def in_columns(scores: Any) -> Floats:
    """Scores of the host as float64 `[n, K]`."""
    scores = np.asarray(scores, dtype=np.float64)
    return scores[:, None] if scores.ndim == 1 else scores


def labels(classes: Any) -> tuple[Any, ...]:
    """Class labels as plain Python values, which can be shown and saved."""
    return tuple(np.asarray(classes).tolist())


def reference_of(options: Options, outputs: int) -> Floats:
    """`[K]`: the value that each output of a regression is explained relative to.

    Raises InvalidInput for anything but finite numbers, one or one for each output.
    """
    given = 0.0 if options.reference is None else options.reference
    try:
        values = np.asarray(given, dtype=np.float64)
        fitting = values.size in (1, outputs) and np.isfinite(values).all()
    except (TypeError, ValueError):
        fitting = False
    if not fitting:
        raise InvalidInput(
            f"reference must be a number, or one for each of {outputs} outputs; got {given!r}"
        )
    return np.broadcast_to(values.ravel(), (outputs,))


def refuse(model: Any, options: Options, *names: str) -> None:
    """InvalidInput where an option is given that this model cannot use."""
    why = {
        "reference": "is for regression; a classifier's decision has its boundary at 0",
        "candidates": "is for kernel machines that are explained at a root point",
        "root": "is for kernel machines that are explained at a root point",
    }
    for name in names:
        if getattr(options, name) is not None:
            raise InvalidInput(f"{name}= {why[name]}; {type(model).__name__} cannot use it")


def classified(scores: Floats, classes: Any, back: Callable[[Floats], Walk]) -> Decided:
    """One score that speaks for the second of two classes, or a score for each class."""
    names = labels(classes)
    if scores.shape[1] == 1:
        return Decided(scores, names[1:], "binary", back, names)
    return Decided(scores, names, "classes", back, names)


def valued(scores: Floats, back: Callable[[Floats], Walk], name: str = "output") -> Decided:
    """Values that belong to no class."""
    outputs = scores.shape[1]
    names = (name,) if outputs == 1 else tuple(range(outputs))
    return Decided(scores, names, "values", back)


@estimator(*_public(_CLASSIFIERS), discriminant_analysis.LinearDiscriminantAnalysis, svm.LinearSVC)
def linear_classifier(model: Any, inputs: Any, options: Options) -> Decided:
    """w x + b for each class, or one for both of two."""
    refuse(model, options, "reference")
    scores = in_columns(model.decision_function(inputs))
    back = linear_way(model, inputs, model.coef_, model.intercept_, scores, options)
    return classified(scores, model.classes_, back)


@estimator(*_public(_REGRESSORS), svm.LinearSVR)
def linear_regressor(model: Any, inputs: Any, options: Options) -> Decided:
    """w x + b for each output, relative to the reference where one is given."""
    predicted = in_columns(model.predict(inputs))
    reference = reference_of(options, predicted.shape[1])
    scores = predicted - reference
    offset = model.intercept_ - reference
    return valued(scores, linear_way(model, inputs, model.coef_, offset, scores, options))


@estimator(linear_model.SGDOneClassSVM)
def linear_one_class(model: Any, inputs: Any, options: Options) -> Decided:
    """w x - offset: positive for inliers."""
    refuse(model, options, "reference")
    scores = in_columns(model.decision_function(inputs))
    back = linear_way(model, inputs, model.coef_, -model.offset_, scores, options)
    return valued(scores, back, "inlier")


def linear_way(
    model: Any, inputs: Any, weights: Any, offset: Any, scores: Floats, options: Options
) -> Callable[[Floats], Walk]:
    """The way back through `weights [K, d]` and `offset [K]`: R_d = w_d x_d, R_b = b."""
    refuse(model, options, "candidates", "root")
    values = numbers(inputs)
    slopes = np.atleast_2d(dense(weights))
    constants = np.broadcast_to(np.asarray(offset, dtype=np.float64).ravel(), len(slopes))

    def back(start: Floats) -> Walk:
        relevance = contributions(values, start, slopes)
        shared = spread_bias(relevance, start * constants, slopes, options.bias)
        received = (start * scores).sum(1)
        return Walk(shared.relevance, (line("", type(model).__name__, "w x", received, shared),))

    return back


def spread_bias(relevance: Any, absorbed: Floats, weights: Floats, how: str) -> Shared:
    """R_b `[n, K]` kept apart, spread evenly over d (2.73), or by w_d^2 / ||w||^2.

    What belongs to outputs without any weight stays with the bias.
    """
    nothing = np.zeros(len(absorbed))
    if how == "absorb":
        return Shared(relevance, absorbed.sum(1), nothing, nothing)
    if how == "distribute":
        shares = np.full_like(weights, 1 / weights.shape[1])
        weightless = np.zeros(len(weights), dtype=bool)
    else:
        norms = (weights**2).sum(1, keepdims=True)
        weightless = norms[:, 0] == 0
        shares = weights**2 / np.where(norms == 0, 1.0, norms)
    spread = dense(relevance) + absorbed @ shares
    return Shared(spread, absorbed[:, weightless].sum(1), nothing, nothing)
