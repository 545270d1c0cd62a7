"""Kernel machines that keep their support vectors: classification, regression, one class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin, RegressorMixin
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .expansion import Expansion
from .kernel import Kernel
from .kernels import find_kernel
from .shared import Floats


class KernelMachine(BaseEstimator, ABC):
    """What the machines share: a kernel, a host that is given its values, and support vectors.

    Attributes after `fit`:
        kernel_: the kernel, with numbers for parameters.
        machine_: scikit-learn's machine on the precomputed kernel.
        support_, support_vectors_: indices `[m]` into the training data, and those samples.
        expansions_, expansion_names_: the decision functions, and what each speaks for.
    """

    kernel: Any

    @abstractmethod
    def _expand(self) -> tuple[list[Expansion], list[Any]]:
        """The fitted decision functions and their names."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = find_kernel(self.kernel).compares_histograms
        return tags

    def _prepared(self, X: Floats, sample_weight: Any) -> tuple[Any, NDArray[np.intp], Any]:
        """The kernel with numbers for parameters; the samples that train, and their weights.

        Samples without weight are left out: with them the host's `support_` counts others than its
        `shape_fit_`, and it predicts from the wrong values of a precomputed kernel.
        """
        kept, weights = np.arange(len(X)), None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
            kept = np.flatnonzero(weights > 0)
            weights = weights[kept]
        return find_kernel(self.kernel).fitted(X[kept]), kept, weights

    def _start(self, X: Floats, sample_weight: Any) -> tuple[Floats, NDArray[np.intp], Any]:
        """The kernel's values on the samples that train, `[k, k]`; which, and their weights."""
        self.kernel_, kept, weights = self._prepared(X, sample_weight)
        return self.kernel_(X[kept]), kept, weights

    def _finish(self, machine: Any, X: Floats, kept: NDArray[np.intp]) -> Self:
        self.machine_ = machine
        self.support_ = kept[machine.support_]
        self.support_vectors_ = X[self.support_]
        self.n_iter_ = machine.n_iter_
        self.expansions_, self.expansion_names_ = self._expand()
        return self

    def _values(self, X: Any) -> Floats:
        """Kernel values `[n, n_train]` for the host, which reads those of support vectors only."""
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=np.float64, reset=False)
        table = np.zeros((len(samples), self.machine_.shape_fit_[0]))
        table[:, self.machine_.support_] = self.kernel_(samples, self.support_vectors_)
        return table


class PairwiseClassifier(ClassifierMixin, KernelMachine):
    """Prediction by a fitted SVC: one-vs-one, each pair of classes a decision function."""

    machine_: Any

    def decision_function(self, X: Any) -> Floats:
        """`[n]` for two classes, positive for `classes_[1]`; else as the host's
        `decision_function_shape` says.
        """
        values = self._values(X)
        return self.machine_.decision_function(values)

    def predict(self, X: Any) -> Any:
        """The class that most pairs vote for, `[n]`."""
        values = self._values(X)
        return self.machine_.predict(values)

    def _expand(self) -> tuple[list[Expansion], list[Any]]:
        return pairwise_expansions(self.machine_, self.kernel_, self.support_vectors_)


class KernelSVC(PairwiseClassifier):
    """A support vector classifier with a kernel of ours.

    `expansions_` has a decision function for each pair of classes, named (positive, negative) in
    `expansion_names_`: with two classes the positive one is `classes_[1]`; with more the first of
    the pair, in the order of scikit-learn's "ovo".

    Args:
        kernel: a Kernel, or the name of one in `KERNELS`.
        C, shrinking, tol, cache_size, class_weight, max_iter, decision_function_shape,
            break_ties: as in `sklearn.svm.SVC`.

    Raises UnknownName for kernels, InvalidInput for features that the kernel does not take.
    """

    def __init__(
        self,
        kernel: str | Kernel = "rbf",
        *,
        C: float = 1.0,
        shrinking: bool = True,
        tol: float = 1e-3,
        cache_size: float = 200,
        class_weight: Any = None,
        max_iter: int = -1,
        decision_function_shape: str = "ovr",
        break_ties: bool = False,
    ) -> None:
        self.kernel = kernel
        self.C = C
        self.shrinking = shrinking
        self.tol = tol
        self.cache_size = cache_size
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.decision_function_shape = decision_function_shape
        self.break_ties = break_ties

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to samples `[n, d]` and classes `[n]`."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        values, kept, weights = self._start(X, sample_weight)
        machine = SVC(**host_options(self)).fit(values, y[kept], weights)
        self.classes_ = machine.classes_
        return self._finish(machine, X, kept)


class KernelSVR(RegressorMixin, KernelMachine):
    """Support vector regression with a kernel of ours; its expansion is the predicted value.

    Args:
        kernel: a Kernel, or the name of one in `KERNELS`.
        C, epsilon, shrinking, tol, cache_size, max_iter: as in `sklearn.svm.SVR`.

    Raises as KernelSVC.
    """

    def __init__(
        self,
        kernel: str | Kernel = "rbf",
        *,
        C: float = 1.0,
        epsilon: float = 0.1,
        shrinking: bool = True,
        tol: float = 1e-3,
        cache_size: float = 200,
        max_iter: int = -1,
    ) -> None:
        self.kernel = kernel
        self.C = C
        self.epsilon = epsilon
        self.shrinking = shrinking
        self.tol = tol
        self.cache_size = cache_size
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to samples `[n, d]` and values `[n]`."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        values, kept, weights = self._start(X, sample_weight)
        machine = SVR(**host_options(self)).fit(values, y[kept], weights)
        return self._finish(machine, X, kept)

    def predict(self, X: Any) -> Floats:
        """Values, `[n]`."""
        values = self._values(X)
        return self.machine_.predict(values)

    def _expand(self) -> tuple[list[Expansion], list[Any]]:
        return [whole_expansion(self.machine_, self.kernel_, self.support_vectors_)], ["output"]


class AnomalyDetector(OutlierMixin, KernelMachine):
    """What machines that know one class only are asked for."""

    def __init__(
        self,
        kernel: str | Kernel = "rbf",
        *,
        nu: float = 0.5,
        shrinking: bool = True,
        tol: float = 1e-3,
        cache_size: float = 200,
        max_iter: int = -1,
    ) -> None:
        self.kernel = kernel
        self.nu = nu
        self.shrinking = shrinking
        self.tol = tol
        self.cache_size = cache_size
        self.max_iter = max_iter


class KernelOneClass(AnomalyDetector):
    """A one-class SVM with a kernel of ours.

    Its expansion is the decision function, positive for inliers: f(x) = sum_i alpha_i k(x_i, x) -
    rho, R_b = -rho (thesis A.9).

    Args:
        kernel: a Kernel, or the name of one in `KERNELS`.
        nu, shrinking, tol, cache_size, max_iter: as in `sklearn.svm.OneClassSVM`.

    Raises as KernelSVC.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to samples `[n, d]`; y is not read."""
        X = validate_data(self, X, dtype=np.float64)
        values, kept, weights = self._start(X, sample_weight)
        machine = OneClassSVM(**host_options(self)).fit(values, sample_weight=weights)
        self.offset_ = machine.offset_
        return self._finish(machine, X, kept)

    def decision_function(self, X: Any) -> Floats:
        """`[n]`, positive for inliers."""
        values = self._values(X)
        return self.machine_.decision_function(values).ravel()

    def score_samples(self, X: Any) -> Floats:
        """`[n]`, the decision function without its offset."""
        return self.decision_function(X) + self.offset_

    def predict(self, X: Any) -> Any:
        """1 for inliers, -1 for outliers, `[n]`."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _expand(self) -> tuple[list[Expansion], list[Any]]:
        return [whole_expansion(self.machine_, self.kernel_, self.support_vectors_)], ["inlier"]


def host_options(machine: BaseEstimator) -> dict[str, Any]:
    """The machine's options as scikit-learn's, for a kernel that is precomputed."""
    return {**machine.get_params(deep=False), "kernel": "precomputed"}


def whole_expansion(machine: Any, kernel: Kernel, vectors: Floats) -> Expansion:
    """The one decision function of a fitted SVR or OneClassSVM, in `kernel`.

    `vectors [m, d]` are the samples of `machine.support_`.
    """
    return Expansion(kernel, vectors, machine.dual_coef_[0], machine.intercept_[0])


def pairwise_expansions(
    machine: Any, kernel: Kernel, vectors: Floats
) -> tuple[list[Expansion], list[tuple[Any, Any]]]:
    """The decision functions of a fitted SVC or NuSVC, and (positive, negative) class of each.

    `vectors [m, d]` are the samples of `machine.support_`. With two classes the positive one is
    `classes_[1]`; with more it is the first of the pair: scikit-learn turns the sign for two.
    """
    parts = pair_weights(machine)
    expansions = [
        Expansion(kernel, vectors[chosen], weights, bias)
        for (chosen, weights), bias in zip(parts, machine.intercept_, strict=True)
    ]
    classes = machine.classes_.tolist()
    if len(classes) == 2:
        return expansions, [(classes[1], classes[0])]
    return expansions, list(combinations(classes, 2))


def pair_weights(machine: Any) -> list[tuple[NDArray[np.intp], Floats]]:
    """For each pair of classes, indices into `machine.support_` and these vectors' weights."""
    ends = np.cumsum(machine.n_support_)
    if len(ends) == 2:
        return [(np.arange(ends[-1]), machine.dual_coef_[0])]
    of = [np.arange(end - size, end) for end, size in zip(ends, machine.n_support_, strict=True)]
    parts = []
    for first, second in combinations(range(len(ends)), 2):
        # no vector has a weight against its own class: row r of class c is class r + (r >= c)
        chosen = np.concatenate([of[first], of[second]])
        weights = np.concatenate(
            [machine.dual_coef_[second - 1, of[first]], machine.dual_coef_[first, of[second]]]
        )
        parts.append((chosen[weights != 0], weights[weights != 0]))
    return parts
