"""The kernels: value, derivative, and share of each dimension, each next to its formula."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from ..errors import InvalidInput, UnknownName, UnsupportedOperation
from .kernel import Along, Kernel, as_pair, as_samples, blocks
from .shared import Floats

Pairwise = Callable[[Floats, Floats], Floats]


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
        return np.sqrt(_at_least_zero(X, self))

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
    def term(x: Floats, y: Floats) -> Floats:
        """k_d."""

    @staticmethod
    @abstractmethod
    def slope(x: Floats, y: Floats) -> Floats:
        """dk_d/dx_d, from the right where the two sides differ: features may not fall below 0."""

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        return _summed(self.term, *self._checked(X, Y))

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return _weighted(self.term, *self._checked(X, Y), weights)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return _weighted(self.slope, *self._checked(X, Y), weights)

    def diagonal(self, X: Any) -> Floats:
        return self.diagonal_relevance(X).sum(1)

    def _checked(self, X: Any, Y: Any) -> tuple[Floats, Floats]:
        samples, vectors = as_pair(X, Y)
        return _at_least_zero(samples, self), _at_least_zero(vectors, self)


@dataclass(frozen=True)
class HistogramIntersection(_Additive):
    """k_d(x, y) = min(x_d, y_d) for features of at least 0, else InvalidInput (thesis A.3)."""

    @staticmethod
    def term(x: Floats, y: Floats) -> Floats:
        return np.minimum(x, y)

    @staticmethod
    def slope(x: Floats, y: Floats) -> Floats:
        return (x < y).astype(np.float64)

    def diagonal_relevance(self, X: Any) -> Floats:
        return _at_least_zero(as_samples(X), self)

    def diagonal_gradient(self, X: Any) -> Floats:
        return np.ones_like(as_samples(X))


@dataclass(frozen=True)
class AdditiveChiSquared(_Additive):
    """k_d(x, y) = 2 x_d y_d / (x_d + y_d), 0 for 0/0; features of at least 0, else InvalidInput.

    This is the positive definite form; scikit-learn's additive_chi2_kernel, -sum_d (x_d - y_d)^2 /
    (x_d + y_d), is twice it less the sums of x and y.
    """

    @staticmethod
    def term(x: Floats, y: Floats) -> Floats:
        return _quotient(2 * x * y, x + y)

    @staticmethod
    def slope(x: Floats, y: Floats) -> Floats:
        return 2 * _quotient(y, x + y) ** 2

    def diagonal_relevance(self, X: Any) -> Floats:
        return _at_least_zero(as_samples(X), self)

    def diagonal_gradient(self, X: Any) -> Floats:
        return np.ones_like(as_samples(X))


class _Whole(Kernel):
    """A kernel that is no sum over dimensions."""

    decomposes = False

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        raise self._refusal()

    def diagonal_relevance(self, X: Any) -> Floats:
        raise self._refusal()

    def _refusal(self) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"{type(self).__name__} is no sum over dimensions, so relevance has no exact form; "
            "Expansion.decompose expands it at a root point"
        )


class DistanceKernel(_Whole):
    """k(x, y) = exp(-gamma sum_d D_d(x_d, y_d)) for a distance D."""

    gamma: Any

    @abstractmethod
    def distances(self, X: Any, Y: Any = None) -> Floats:
        """sum_d D_d, `[n, m]`."""

    @abstractmethod
    def spread(self, X: Any, Y: Any, coefficients: Floats) -> Floats:
        """sum_i c_i D_d(x, y_i), `[n, d]`, for `coefficients [n, m]`."""

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        exponents = self.distances(X, Y)
        exponents *= -_number(self)
        return np.exp(exponents, out=exponents)

    def diagonal(self, X: Any) -> Floats:
        return np.ones(len(as_samples(X)))

    def diagonal_gradient(self, X: Any) -> Floats:
        return np.zeros_like(as_samples(X))


@dataclass(frozen=True)
class Rbf(DistanceKernel):
    """k(x, y) = exp(-gamma ||x - y||^2), the Gaussian kernel (thesis A.5, gamma = 1/sigma^2).

    gamma is a number above 0, or "scale" or "auto" as in scikit-learn: `fitted(X)` makes it one.
    """

    compares_histograms = False

    gamma: float | str = "scale"

    def __post_init__(self) -> None:
        _check_gamma(self.gamma)

    def distances(self, X: Any, Y: Any = None) -> Floats:
        samples, vectors = as_pair(X, Y)
        products = samples @ vectors.T
        products *= -2
        products += np.einsum("nd,nd->n", samples, samples)[:, None]
        products += np.einsum("md,md->m", vectors, vectors)
        np.maximum(products, 0, out=products)
        if Y is None:
            np.fill_diagonal(products, 0)
        return products

    def spread(self, X: Any, Y: Any, coefficients: Floats) -> Floats:
        samples, vectors = as_pair(X, Y)
        return _weighted(lambda x, y: (x - y) ** 2, samples, vectors, coefficients)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = as_pair(X, Y)
        pulls = self(samples, vectors) * weights
        return 2 * _number(self) * (pulls @ vectors - pulls.sum(1, keepdims=True) * samples)

    def fitted(self, X: Floats) -> Rbf:
        return _with_number(self, X)

    def along(self, X: Floats, C: Floats, Y: Floats) -> Along:
        # ||(1 - t) x + t c - y||^2 = (1 - t) ||x - y||^2 + t ||c - y||^2 - t (1 - t) ||x - c||^2
        from_x, from_c, apart = self.distances(X, Y), self.distances(C, Y), self.distances(X, C)
        gamma = _number(self)

        def values(of: Any, to: Any, t: Floats) -> Floats:
            position = t[:, None]
            exponents = (1 - position) * from_x[of] + position * from_c[to]
            exponents -= (t * (1 - t) * apart[of, to])[:, None]
            exponents *= -gamma
            return np.exp(exponents, out=exponents)

        return values


@dataclass(frozen=True)
class ChiSquared(DistanceKernel):
    """k(x, y) = exp(-gamma sum_d (x_d - y_d)^2 / (x_d + y_d)) (thesis A.7, gamma = sigma there).

    0/0 is 0, and there the derivative is the one-sided -gamma k. Features of at least 0 and a
    gamma above 0, else InvalidInput.
    """

    compares_histograms = True

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.gamma, str):
            raise InvalidInput(f"gamma of ChiSquared must be a number, got {self.gamma!r}")
        _check_gamma(self.gamma)

    def distances(self, X: Any, Y: Any = None) -> Floats:
        return _summed(_chi_squared, *self._checked(X, Y))

    def spread(self, X: Any, Y: Any, coefficients: Floats) -> Floats:
        return _weighted(_chi_squared, *self._checked(X, Y), coefficients)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = self._checked(X, Y)
        pulls = -self.gamma * self(samples, vectors) * weights
        return _weighted(_chi_squared_slope, samples, vectors, pulls)

    def _checked(self, X: Any, Y: Any) -> tuple[Floats, Floats]:
        samples, vectors = as_pair(X, Y)
        return _at_least_zero(samples, self), _at_least_zero(vectors, self)


class _Product(_Whole):
    """k(x, y) = g(gamma <x, y> + coef0)."""

    compares_histograms = False

    gamma: float | str
    coef0: float

    @abstractmethod
    def value(self, argument: Floats) -> Floats:
        """g."""

    @abstractmethod
    def slope(self, argument: Floats) -> Floats:
        """g'."""

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        return self.value(self._argument(*as_pair(X, Y)))

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = as_pair(X, Y)
        pulls = self.slope(self._argument(samples, vectors)) * weights
        return _number(self) * (pulls @ vectors)

    def diagonal(self, X: Any) -> Floats:
        return self.value(self._own(as_samples(X)))

    def diagonal_gradient(self, X: Any) -> Floats:
        samples = as_samples(X)
        return 2 * _number(self) * self.slope(self._own(samples))[:, None] * samples

    def along(self, X: Floats, C: Floats, Y: Floats) -> Along:
        from_x, from_c = self._argument(X, Y), self._argument(C, Y)
        return lambda of, to, t: self.value((1 - t)[:, None] * from_x[of] + t[:, None] * from_c[to])

    def _argument(self, X: Floats, Y: Floats) -> Floats:
        return _number(self) * (X @ Y.T) + self.coef0

    def _own(self, X: Floats) -> Floats:
        return _number(self) * np.einsum("nd,nd->n", X, X) + self.coef0


@dataclass(frozen=True)
class Polynomial(_Product):
    """k(x, y) = (gamma <x, y> + coef0)^degree; gamma as for Rbf, degree an integer of 1 or more."""

    degree: int = 3
    gamma: float | str = "scale"
    coef0: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or self.degree < 1:
            raise InvalidInput(f"degree must be an integer of 1 or more, got {self.degree!r}")
        _check_gamma(self.gamma)

    def value(self, argument: Floats) -> Floats:
        return argument**self.degree

    def slope(self, argument: Floats) -> Floats:
        return self.degree * argument ** (self.degree - 1)

    def fitted(self, X: Floats) -> Polynomial:
        return _with_number(self, X)


@dataclass(frozen=True)
class Sigmoid(_Product):
    """k(x, y) = tanh(gamma <x, y> + coef0); gamma as for Rbf."""

    gamma: float | str = "scale"
    coef0: float = 0.0

    def __post_init__(self) -> None:
        _check_gamma(self.gamma)

    def value(self, argument: Floats) -> Floats:
        return np.tanh(argument)

    def slope(self, argument: Floats) -> Floats:
        return 1 - np.tanh(argument) ** 2

    def fitted(self, X: Floats) -> Sigmoid:
        return _with_number(self, X)


KERNELS: dict[str, Callable[[], Kernel]] = {
    "linear": Linear,
    "histogram_intersection": HistogramIntersection,
    "additive_chi2": AdditiveChiSquared,
    "hellinger": Hellinger,
    "rbf": Rbf,
    "chi2": ChiSquared,
    "poly": Polynomial,
    "sigmoid": Sigmoid,
}


def find_kernel(kernel: str | Kernel) -> Kernel:
    """The kernel itself, or the one of that name with its default parameters; UnknownName else."""
    if isinstance(kernel, Kernel):
        return kernel
    if not isinstance(kernel, str) or kernel not in KERNELS:
        raise UnknownName("kernel", kernel, KERNELS)
    return KERNELS[kernel]()


def _summed(pairwise: Pairwise, X: Floats, Y: Floats) -> Floats:
    """sum_d pairwise(x_d, y_d), `[n, m]`."""
    total = np.empty((len(X), len(Y)))
    for rows, vectors in blocks(len(X), *Y.shape):
        total[rows, vectors] = pairwise(X[rows, None], Y[None, vectors]).sum(2)
    return total


def _weighted(pairwise: Pairwise, X: Floats, Y: Floats, coefficients: Floats) -> Floats:
    """sum_i c_i pairwise(x_d, y_id), `[n, d]`, for `coefficients [m]` or `[n, m]`."""
    total = np.zeros(X.shape)
    table = np.broadcast_to(coefficients, (len(X), len(Y)))
    for rows, vectors in blocks(len(X), *Y.shape):
        terms = pairwise(X[rows, None], Y[None, vectors])
        total[rows] += (table[rows, None, vectors] @ terms)[:, 0]
    return total


def _quotient(above: Floats, below: Floats) -> Floats:
    """above / below, and 0 where below is 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.zeros(shape), where=below != 0)


def _chi_squared(x: Floats, y: Floats) -> Floats:
    return _quotient((x - y) ** 2, x + y)


def _chi_squared_slope(x: Floats, y: Floats) -> Floats:
    """(x - y)(x + 3y) / (x + y)^2 = 1 - 4 (y / (x + y))^2, which is 1 at 0/0."""
    return 1 - 4 * _quotient(y, x + y) ** 2


def _at_least_zero(X: Floats, kernel: Kernel) -> Floats:
    if X.size and X.min() < 0:
        raise InvalidInput(
            f"{type(kernel).__name__} compares histograms: features must be at least 0, "
            f"got {X.min():g}"
        )
    return X


def _check_gamma(gamma: Any) -> None:
    if gamma in ("scale", "auto"):
        return
    if isinstance(gamma, bool) or not isinstance(gamma, Real) or not 0 < float(gamma) < np.inf:
        raise InvalidInput(f'gamma must be a number above 0, "scale" or "auto", got {gamma!r}')


def _number(kernel: Any) -> float:
    if isinstance(kernel.gamma, str):
        raise InvalidInput(
            f"gamma={kernel.gamma!r} of {type(kernel).__name__} depends on the training data; "
            "give a number, or use kernel.fitted(X_train)"
        )
    return float(kernel.gamma)


def _with_number(kernel: Any, X: Floats) -> Any:
    """The kernel with gamma = 1 / (d var(X)) for "scale", 1 / d for "auto", as scikit-learn."""
    if not isinstance(kernel.gamma, str):
        return kernel
    variance = X.var() if kernel.gamma == "scale" else 1.0
    return replace(kernel, gamma=1 / (X.shape[1] * variance) if variance else 1.0)
