"""Differentiable kernels that are no sums over dimensions: expanded at a root (thesis 2.76)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from ..errors import InvalidInput, UnsupportedOperation
from .kernel import Along, Kernel, as_pair, as_samples
from .pairwise import at_least_zero, divide_by_sum, squared_distances, summed, weighted
from .shared import Floats


class _Whole(Kernel):
    """A kernel that is no sum over dimensions."""

    decomposes = False

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        raise self._refusal()

    def scored(self, X: Any, Y: Any, weights: Floats) -> tuple[Floats, Floats]:
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
    def distances(self, X: Any, Y: Any) -> Floats:
        """sum_d D_d, `[n, m]`, to the last digits: 0 only where x = y."""

    @abstractmethod
    def spread(self, X: Any, Y: Any, coefficients: Floats) -> Floats:
        """sum_i c_i D_d(x, y_i), `[n, d]`, for `coefficients [n, m]`."""

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

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        exponents = squared_distances(*as_pair(X, Y))
        exponents *= -_number(self)
        if Y is None:
            np.fill_diagonal(exponents, 0)
        return np.exp(exponents, out=exponents)

    def distances(self, X: Any, Y: Any) -> Floats:
        return summed(_square, *as_pair(X, Y))

    def spread(self, X: Any, Y: Any, coefficients: Floats) -> Floats:
        return weighted(_square, *as_pair(X, Y), coefficients)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = as_pair(X, Y)
        pulls = self(samples, vectors) * weights
        return 2 * _number(self) * (pulls @ vectors - pulls.sum(1, keepdims=True) * samples)

    def fitted(self, X: Floats) -> Rbf:
        return _with_number(self, X)

    def along(self, X: Floats, C: Floats, Y: Floats) -> Along:
        # ||(1 - t) x + t c - y||^2 = (1 - t) ||x - y||^2 + t ||c - y||^2 - t (1 - t) ||x - c||^2
        from_x, from_c, apart = (squared_distances(*pair) for pair in ((X, Y), (C, Y), (X, C)))
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

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        return np.exp(-self.gamma * self.distances(X, Y))

    def distances(self, X: Any, Y: Any) -> Floats:
        return summed(_chi_squared, *self._checked(X, Y))

    def spread(self, X: Any, Y: Any, coefficients: Floats) -> Floats:
        return weighted(_chi_squared, *self._checked(X, Y), coefficients)

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        samples, vectors = self._checked(X, Y)
        pulls = -self.gamma * self(samples, vectors) * weights
        return weighted(_chi_squared_slope, samples, vectors, pulls)

    def _checked(self, X: Any, Y: Any) -> tuple[Floats, Floats]:
        samples, vectors = as_pair(X, Y)
        return at_least_zero(samples, self), at_least_zero(vectors, self)


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


def _square(x: Floats, y: Floats, out: Floats, spare: Floats) -> Floats:
    np.subtract(x, y, out=out)
    out *= out
    return out


def _chi_squared(x: Floats, y: Floats, out: Floats, spare: Floats) -> Floats:
    return divide_by_sum(_square(x, y, out, spare), x, y, out, spare)


def _chi_squared_slope(x: Floats, y: Floats, out: Floats, spare: Floats) -> Floats:
    """(x - y)(x + 3y) / (x + y)^2 = 1 - 4 (y / (x + y))^2, which is 1 at 0/0."""
    share = divide_by_sum(y, x, y, out, spare)
    share *= share
    share *= -4
    share += 1
    return share


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
