"""Kernels that are sums over dimensions: relevance is exact (thesis 2.72)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .kernel import Kernel, as_pair, as_samples
from .pairwise import at_least_zero, divide_by_sum, summed, summed_and_weighted, weighted
from .shared import Floats


class _Mapped(Kernel):
    """k_d(x, y) = phi(x_d) phi(y_d) for a map phi of single numbers: matrix products do it all."""

    decomposes = True

    @abstractmethod
    def feature(self, X: Floats) -> Floats:
        """phi."""

    @abstractmethod
    def slope(self, X: Floats, onto: Floats) -> Floats:
        """phi'(x) onto."""

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        samples, vectors = as_pair(X, Y)
        return self.feature(samples) @ self.feature(vectors).T

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = as_pair(X, Y)
        return self.feature(samples) * (weights @ self.feature(vectors))

    def scored(self, X: Any, Y: Any, weights: Floats) -> tuple[Floats, Floats]:
        return self(X, Y) @ weights, self.relevance(X, Y, weights)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = as_pair(X, Y)
        return self.slope(samples, weights @ self.feature(vectors))

    def diagonal(self, X: Any) -> Floats:
        return self.diagonal_relevance(X).sum(1)

    def diagonal_relevance(self, X: Any) -> Floats:
        return self.feature(as_samples(X)) ** 2


@dataclass(frozen=True)
class Linear(_Mapped):
    """k_d(x, y) = x_d y_d (thesis A.1)."""

    compares_histograms = False

    def feature(self, X: Floats) -> Floats:
        return X

    def slope(self, X: Floats, onto: Floats) -> Floats:
        return np.broadcast_to(onto, X.shape).copy()

    def diagonal_gradient(self, X: Any) -> Floats:
        return 2 * as_samples(X)


@dataclass(frozen=True)
class Hellinger(_Mapped):
    """k_d(x, y) = sqrt(x_d y_d) for features of at least 0, else InvalidInput.

    Its derivative is infinite at x_d = 0 where the vectors' weighted roots do not sum to zero.
    """

    compares_histograms = True

    def feature(self, X: Floats) -> Floats:
        return np.sqrt(at_least_zero(X, self))

    def slope(self, X: Floats, onto: Floats) -> Floats:
        roots = 2 * self.feature(X)
        with np.errstate(divide="ignore"):
            return np.divide(onto, roots, out=np.zeros_like(roots), where=onto != 0)

    def diagonal_gradient(self, X: Any) -> Floats:
        return np.ones_like(as_samples(X))


class _Additive(Kernel):
    """k(x, y) = sum_d k_d(x_d, y_d), evaluated in blocks of samples and vectors."""

    decomposes = True
    compares_histograms = True

    @staticmethod
    @abstractmethod
    def term(x: Floats, y: Floats, out: Floats, spare: Floats) -> object:
        """Fills `out` with k_d."""

    @staticmethod
    @abstractmethod
    def slope(x: Floats, y: Floats, out: Floats, spare: Floats) -> object:
        """Fills `out` with dk_d/dx_d.

        From the right where the two sides differ: features may not fall below 0.
        """

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        return summed(self.term, *self._checked(X, Y))

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return weighted(self.term, *self._checked(X, Y), weights)

    def scored(self, X: Any, Y: Any, weights: Floats) -> tuple[Floats, Floats]:
        return summed_and_weighted(self.term, *self._checked(X, Y), weights)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return weighted(self.slope, *self._checked(X, Y), weights)

    def diagonal(self, X: Any) -> Floats:
        return self.diagonal_relevance(X).sum(1)

    def _checked(self, X: Any, Y: Any) -> tuple[Floats, Floats]:
        samples, vectors = as_pair(X, Y)
        return at_least_zero(samples, self), at_least_zero(vectors, self)


@dataclass(frozen=True)
class HistogramIntersection(_Additive):
    """k_d(x, y) = min(x_d, y_d) for features of at least 0, else InvalidInput (thesis A.3)."""

    @staticmethod
    def term(x: Floats, y: Floats, out: Floats, spare: Floats) -> object:
        return np.minimum(x, y, out=out)

    @staticmethod
    def slope(x: Floats, y: Floats, out: Floats, spare: Floats) -> object:
        return np.less(x, y, out=out)

    def diagonal_relevance(self, X: Any) -> Floats:
        return at_least_zero(as_samples(X), self)

    def diagonal_gradient(self, X: Any) -> Floats:
        return np.ones_like(as_samples(X))


@dataclass(frozen=True)
class AdditiveChiSquared(_Additive):
    """k_d(x, y) = 2 x_d y_d / (x_d + y_d), 0 for 0/0; features of at least 0, else InvalidInput.

    This is the positive definite form; scikit-learn's additive_chi2_kernel, -sum_d (x_d - y_d)^2 /
    (x_d + y_d), is twice it less the sums of x and y.
    """

    @staticmethod
    def term(x: Floats, y: Floats, out: Floats, spare: Floats) -> object:
        return divide_by_sum(np.multiply(2 * x, y, out=out), x, y, out, spare)

    @staticmethod
    def slope(x: Floats, y: Floats, out: Floats, spare: Floats) -> object:
        share = divide_by_sum(y, x, y, out, spare)  # 2 (y / (x + y))^2
        share *= share
        share *= 2
        return share

    def diagonal_relevance(self, X: Any) -> Floats:
        return at_least_zero(as_samples(X), self)

    def diagonal_gradient(self, X: Any) -> Floats:
        return np.ones_like(as_samples(X))
