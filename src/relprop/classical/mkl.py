"""Multiple kernel learning: a classifier that weighs its kernels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ..errors import InvalidInput
from .kernel import Combined, Kernel
from .kernels import find_kernel
from .machines import PairwiseClassifier, host_options, pair_weights
from .shared import Floats

OWN = ("kernels", "norm", "weight_tol", "max_rounds")


class MultipleKernelSVC(PairwiseClassifier):
    """An SVC on a weighted sum of kernels whose weights are learned (lp-norm MKL, Kloft 2011).

    Kernel weights theta are at least 0 and have the lp-norm of equal weights 1/M, so that each norm
    scales kernels alike: norm 1 lets few kernels win, infinity keeps their mean (thesis 2.67). An
    SVC for the weights at hand and the closed form theta_u ~ ||w_u||^(2 / (p + 1)) take turns until
    no weight moves by more than `weight_tol`; ||w_u||^2 is summed over pairs of classes. Kernels of
    different scale should be brought to one first: `0.1 * Polynomial()`.

    Args:
        kernels: Kernels or names in `KERNELS`; `Columns(kernel, slice)` for a group of features.
        norm: p, from 1 to infinity.
        weight_tol: as a share of the largest weight. max_rounds: of turns; a ConvergenceWarning
            says when they did not suffice.
        C, shrinking, tol, cache_size, class_weight, max_iter, decision_function_shape,
            break_ties: as in `sklearn.svm.SVC`.

    Attributes after `fit`, besides those of KernelSVC:
        kernel_weights_: theta, one a kernel; n_rounds_: turns taken.

    Raises UnknownName and InvalidInput.
    """

    def __init__(
        self,
        kernels: Sequence[str | Kernel] = ("linear", "rbf"),
        *,
        norm: float = 2.0,
        weight_tol: float = 1e-3,
        max_rounds: int = 100,
        C: float = 1.0,
        shrinking: bool = True,
        tol: float = 1e-3,
        cache_size: float = 200,
        class_weight: Any = None,
        max_iter: int = -1,
        decision_function_shape: str = "ovr",
        break_ties: bool = False,
    ) -> None:
        self.kernels = kernels
        self.norm = norm
        self.weight_tol = weight_tol
        self.max_rounds = max_rounds
        self.C = C
        self.shrinking = shrinking
        self.tol = tol
        self.cache_size = cache_size
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.decision_function_shape = decision_function_shape
        self.break_ties = break_ties

    @property
    def kernel(self) -> Combined:
        """The mean of the kernels, with which learning starts."""
        found = tuple(find_kernel(kernel) for kernel in self.kernels)
        if not found:
            raise InvalidInput("MultipleKernelSVC needs at least one kernel")
        return Combined(found, (1 / len(found),) * len(found))

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to samples `[n, d]` and classes `[n]`."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self._check()
        start, kept, weights = self._prepared(X, sample_weight)
        tables = np.stack([kernel(X[kept]) for kernel in start.kernels])
        machine, learned = self._learn(tables, y[kept], weights, np.array(start.weights))
        self.kernel_ = Combined(start.kernels, tuple(learned))
        self.kernel_weights_ = learned
        self.classes_ = machine.classes_
        return self._finish(machine, X, kept)

    def _learn(
        self, tables: Floats, y: Any, sample_weight: Any, weights: Floats
    ) -> tuple[SVC, Floats]:
        options = {k: v for k, v in host_options(self).items() if k not in OWN}
        for turn in range(1, self.max_rounds + 1):
            self.n_rounds_ = turn
            machine = SVC(**options).fit(np.tensordot(weights, tables, 1), y, sample_weight)
            better = self._weights(weights**2 * squared_norms(machine, tables))
            if np.abs(better - weights).max() <= self.weight_tol * weights.max():
                return machine, weights
            if turn < self.max_rounds:
                weights = better
        warnings.warn(
            f"kernel weights still move after {self.max_rounds} turns; raise max_rounds",
            ConvergenceWarning,
            stacklevel=3,
        )
        return machine, weights

    def _weights(self, squares: Floats) -> Floats:
        """The best theta for ||w_u||^2 `[M]`."""
        count, p = len(squares), float(self.norm)
        if np.isinf(p) or not squares.any():
            return np.full(count, 1 / count)
        powers = (squares / squares.max()) ** (1 / (p + 1))
        return powers / np.linalg.norm(powers, p) * count ** (1 / p - 1)

    def _check(self) -> None:
        if isinstance(self.norm, bool) or not isinstance(self.norm, Real) or not self.norm >= 1:
            raise InvalidInput(f"norm must be a number from 1 to infinity, got {self.norm!r}")
        if not isinstance(self.max_rounds, int) or self.max_rounds < 1:
            raise InvalidInput(f"max_rounds must be an integer of 1 or more, got {self.max_rounds}")


def squared_norms(machine: SVC, tables: Floats) -> Floats:
    """sum over pairs of classes of a' K_u a for each kernel, `[M]`, from `tables [M, n, n]`."""
    total = np.zeros(len(tables))
    for chosen, weights in pair_weights(machine):
        rows = machine.support_[chosen]
        total += weights @ tables[:, rows[:, None], rows] @ weights
    return np.maximum(total, 0)  # a kernel that is not positive definite may fall below
