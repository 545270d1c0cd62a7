"""Support vector data description: the smallest ball around the data, in feature space."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.svm import OneClassSVM
from sklearn.utils.validation import check_is_fitted, validate_data

from .expansion import Expansion
from .machines import AnomalyDetector, host_options
from .shared import Floats


class KernelSVDD(AnomalyDetector):
    """Support vector data description (Tax & Duin 2004): a ball with centre c and radius r.

    Minimises r^2 + 1/(nu n) sum_i slack_i. Its expansion is the outlierness of thesis A.10,
    f(x) = ||phi(x) - c||^2 - r^2 with R_b = -r^2, which is positive outside the ball; following
    scikit-learn `decision_function` is -f. For a kernel that decomposes, each feature has its part
    of the squared distance (A.13): k_d(x, x) - 2 sum_i alpha_i k_d(x_i, x) + sum_ij alpha_i alpha_j
    k_d(x_i, x_j).

    Args:
        kernel: a Kernel, or the name of one in `KERNELS`.
        nu: at least the share of support vectors and at most that of outliers, in 0..1.
        shrinking, tol, cache_size, max_iter: as in `sklearn.svm.OneClassSVM`.

    Attributes after `fit`, besides those of other machines:
        weights_: alpha `[m]`, which sum to 1; squared_radius_: r^2; offset_: -r^2.

    Raises as KernelSVC.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to samples `[n, d]`; y is not read.

        With sum_i alpha_i fixed, the one-class SVM on k(x, y) - (k(x, x) + k(y, y)) / 2 + const
        has the same dual, and its offset gives the radius.
        """
        X = validate_data(self, X, dtype=np.float64)
        values, kept, weights = self._start(X, sample_weight)
        own = values.diagonal()
        shift = own.mean()
        shifted = values - (own[:, None] + own) / 2 + shift
        machine = OneClassSVM(**host_options(self)).fit(shifted, sample_weight=weights)
        total = machine.dual_coef_.sum()
        self.weights_ = machine.dual_coef_[0] / total
        inner = values[np.ix_(machine.support_, machine.support_)]
        self._centre = float(self.weights_ @ inner @ self.weights_)
        level = float(machine.offset_[0] / total)
        constants = 2 * shift + self._centre - self.weights_ @ own[machine.support_]
        self.squared_radius_ = float(constants - 2 * level)
        self.offset_ = -self.squared_radius_
        return self._finish(machine, X, kept)

    def decision_function(self, X: Any) -> Floats:
        """r^2 - ||phi(x) - c||^2, `[n]`: positive for inliers."""
        return self.score_samples(X) - self.offset_

    def score_samples(self, X: Any) -> Floats:
        """-||phi(x) - c||^2, `[n]`."""
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=np.float64, reset=False)
        return -self.expansions_[0].score(samples) - self.squared_radius_

    def predict(self, X: Any) -> Any:
        """1 for inliers, -1 for outliers, `[n]`."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _expand(self) -> tuple[list[Expansion], list[Any]]:
        vectors, weights, kernel = self.support_vectors_, self.weights_, self.kernel_
        offsets, bias = None, -self.squared_radius_
        if kernel.decomposes:
            offsets = weights @ kernel.relevance(vectors, vectors, weights)
        else:
            bias += self._centre
        outlierness = Expansion(kernel, vectors, -2 * weights, bias, own=1.0, offsets=offsets)
        return [outlierness], ["outlier"]
