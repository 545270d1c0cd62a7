"""Estimators that hold others: calibration, one decision a class, searches over parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import calibration, model_selection, multiclass

from ..errors import UnsupportedOperation
from .dispatch import decided
from .estimators import classified, labels, refuse
from .registry import ESTIMATORS, estimator
from .shared import Floats
from .walking import Decided, Options, Walk, together


@estimator(model_selection.GridSearchCV, model_selection.RandomizedSearchCV)
def search(model: Any, inputs: Any, options: Options) -> Decided:
    """The best model found; UnsupportedOperation where the search did not fit it again."""
    if not model.refit:
        raise UnsupportedOperation(
            f"{type(model).__name__}(refit=False) keeps no fitted model; explain one fitted with "
            "best_params_"
        )
    return decided(model.best_estimator_, inputs, options)


def frozen(model: Any, inputs: Any, options: Options) -> Decided:
    """The model inside."""
    return decided(model.estimator, inputs, options)


try:  # from scikit-learn 1.6 on
    from sklearn.frozen import FrozenEstimator
except ImportError:
    pass
else:
    ESTIMATORS[FrozenEstimator] = frozen


@estimator(multiclass.OneVsRestClassifier)
def one_against_rest(model: Any, inputs: Any, options: Options) -> Decided:
    """Each class by its own binary machine; one machine where there are two classes."""
    refuse(model, options, "reference")
    machines = [decided(machine, inputs, options) for machine in model.estimators_]
    for machine in machines:
        if machine.scores.shape[1] != 1:
            raise UnsupportedOperation(
                "OneVsRestClassifier over estimators with more than one score is not explained"
            )
    scores = np.concatenate([machine.scores for machine in machines], axis=1)
    names = labels(model.classes_)
    parts = names if len(machines) > 1 else names[1:]

    def back(weights: Floats) -> Walk:
        chosen = np.flatnonzero(weights.any(0)).tolist() or [0]
        return together([machines[k].back(weights[:, [k]]).inside(str(parts[k])) for k in chosen])

    return classified(scores, model.classes_, back)


@estimator(calibration.CalibratedClassifierCV)
def calibrated(model: Any, inputs: Any, options: Options) -> Decided:
    """The mean of the decision functions inside, before calibration."""
    refuse(model, options, "reference")
    folds = [decided(fold.estimator, inputs, options) for fold in model.calibrated_classifiers_]
    first, count = folds[0], len(folds)
    scores = np.mean([fold.scores for fold in folds], axis=0)

    def back(weights: Floats) -> Walk:
        return together(
            [fold.back(weights / count).inside(f"fold {i}") for i, fold in enumerate(folds)]
        )

    note = (
        f"calibration is left out: this is the mean of {count} decision functions inside"
        if count > 1
        else "calibration is left out: this is the decision function inside"
    )
    predicted = None
    if first.kind == "classes":
        predicted = np.searchsorted(model.classes_, model.predict(inputs))
    return Decided(
        scores, first.names, first.kind, back, first.classes, predicted, (*first.notes, note)
    )
