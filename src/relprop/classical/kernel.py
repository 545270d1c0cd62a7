"""What a kernel can do, and kernels made of kernels: weighted sums, and kernels on some columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .shared import Floats

Along = Callable[[NDArray[np.intp], NDArray[np.intp], Floats], Floats]


class Kernel(ABC):
    """A kernel k(x, y): values, derivatives, and shares for each dimension where it has them.

    Arrays are float64: samples `X [n, d]`, vectors `Y [m, d]`, `weights [m]`. scikit-learn takes
    kernels as they are: `SVC(kernel=HistogramIntersection())`. Kernels add up, and may be
    multiplied by numbers: `0.5 * Linear() + Rbf(gamma=0.1)` (thesis 2.67).
    """

    @property
    @abstractmethod
    def compares_histograms(self) -> bool:
        """Whether features must be at least 0."""

    @property
    @abstractmethod
    def decomposes(self) -> bool:
        """Whether k(x, y) = sum_d k_d(x_d, y_d), so that relevance is exact (thesis 2.72)."""

    @abstractmethod
    def __call__(self, X: Any, Y: Any = None) -> Floats:
        """k(x, y) for all pairs, `[n, m]`; Y is X where it is left out."""

    @abstractmethod
    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        """sum_i weights_i dk(x, y_i)/dx, `[n, d]`."""

    @abstractmethod
    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        """sum_i weights_i k_d(x, y_i), `[n, d]`; else UnsupportedOperation."""

    @abstractmethod
    def scored(self, X: Any, Y: Any, weights: Floats) -> tuple[Floats, Floats]:
        """sum_i weights_i k(x, y_i), `[n]`, and `relevance`, for little more than one of them."""

    @abstractmethod
    def diagonal(self, X: Any) -> Floats:
        """k(x, x), `[n]`."""

    @abstractmethod
    def diagonal_gradient(self, X: Any) -> Floats:
        """dk(x, x)/dx, `[n, d]`."""

    @abstractmethod
    def diagonal_relevance(self, X: Any) -> Floats:
        """k_d(x, x), `[n, d]`; else UnsupportedOperation."""

    def fitted(self, X: Floats) -> Kernel:
        """This kernel with the parameters that training data `[n, d]` decide as numbers."""
        return self

    def change(self, X: Floats, roots: Floats, Y: Floats, weights: Floats) -> Floats:
        """sum_i weights_i (k(x, y_i) - k(root, y_i)) for each dimension, `[n, d]`.

        Exact where k decomposes, else to first order at the root (thesis 2.76). `roots [n, d]`.
        """
        if self.decomposes:
            return self.relevance(X, Y, weights) - self.relevance(roots, Y, weights)
        return self.gradient(roots, Y, weights) * (X - roots)

    def diagonal_change(self, X: Floats, roots: Floats) -> Floats:
        """k(x, x) - k(root, root) for each dimension, `[n, d]`, as in `change`."""
        if self.decomposes:
            return self.diagonal_relevance(X) - self.diagonal_relevance(roots)
        return self.diagonal_gradient(roots) * (X - roots)

    def along(self, X: Floats, C: Floats, Y: Floats) -> Along:
        """k on the segments from samples to candidates `C [c, d]`, as a function.

        It takes the samples' and the candidates' indices `[p]` and the positions `[p]` in 0..1,
        and gives k((1 - t) x + t c, y), `[p, m]`.
        """
        return lambda of, to, t: self(X[of] + t[:, None] * (C[to] - X[of]), Y)

    def __add__(self, other: Kernel) -> Combined:
        if not isinstance(other, Kernel):
            return NotImplemented
        one, more = _terms(self), _terms(other)
        return Combined(one.kernels + more.kernels, one.weights + more.weights)

    def __mul__(self, factor: float) -> Combined:
        if not isinstance(factor, Real):
            return NotImplemented
        one = _terms(self)
        return Combined(one.kernels, tuple(float(factor) * weight for weight in one.weights))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Combined(Kernel):
    """sum_u weights_u k_u(x, y); explained kernel by kernel (thesis 2.67).

    Weights are finite and at least 0, else InvalidInput.
    """

    kernels: tuple[Kernel, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        kernels, weights = tuple(self.kernels), tuple(float(weight) for weight in self.weights)
        if not kernels or len(kernels) != len(weights):
            raise InvalidInput(
                f"{len(kernels)} kernels and {len(weights)} weights; give one weight a kernel"
            )
        if not all(np.isfinite(weight) and weight >= 0 for weight in weights):
            raise InvalidInput(f"weights of kernels must be at least 0, got {weights}")
        object.__setattr__(self, "kernels", kernels)
        object.__setattr__(self, "weights", weights)

    @property
    def decomposes(self) -> bool:
        return all(kernel.decomposes for kernel in self.kernels)

    @property
    def compares_histograms(self) -> bool:
        return any(kernel.compares_histograms for kernel in self.kernels)

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        return self._sum(lambda kernel: kernel(X, Y))

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return self._sum(lambda kernel: kernel.gradient(X, Y, weights))

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return self._sum(lambda kernel: kernel.relevance(X, Y, weights))

    def scored(self, X: Any, Y: Any, weights: Floats) -> tuple[Floats, Floats]:
        parts = [kernel.scored(X, Y, weights) for kernel in self.kernels]
        scores, shares = zip(*parts, strict=True)
        factors = np.array(self.weights)
        return np.tensordot(factors, scores, 1), np.tensordot(factors, shares, 1)

    def diagonal(self, X: Any) -> Floats:
        return self._sum(lambda kernel: kernel.diagonal(X))

    def diagonal_gradient(self, X: Any) -> Floats:
        return self._sum(lambda kernel: kernel.diagonal_gradient(X))

    def diagonal_relevance(self, X: Any) -> Floats:
        return self._sum(lambda kernel: kernel.diagonal_relevance(X))

    def fitted(self, X: Floats) -> Combined:
        return Combined(tuple(kernel.fitted(X) for kernel in self.kernels), self.weights)

    def change(self, X: Floats, roots: Floats, Y: Floats, weights: Floats) -> Floats:
        return self._sum(lambda kernel: kernel.change(X, roots, Y, weights))

    def diagonal_change(self, X: Floats, roots: Floats) -> Floats:
        return self._sum(lambda kernel: kernel.diagonal_change(X, roots))

    def along(self, X: Floats, C: Floats, Y: Floats) -> Along:
        parts = [kernel.along(X, C, Y) for kernel in self.kernels]

        def values(of: NDArray[np.intp], to: NDArray[np.intp], t: Floats) -> Floats:
            pairs = zip(self.weights, parts, strict=True)
            return np.sum([weight * part(of, to, t) for weight, part in pairs], axis=0)

        return values

    def _sum(self, value: Callable[[Kernel], Floats]) -> Floats:
        total = self.weights[0] * value(self.kernels[0])
        for kernel, weight in zip(self.kernels[1:], self.weights[1:], strict=True):
            total += weight * value(kernel)
        return total


@dataclass(frozen=True)
class Columns(Kernel):
    """A kernel that sees some features only: `Columns(Rbf(gamma=0.1), slice(0, 128))`.

    `columns` is a slice or distinct indices; all other features get no relevance. Raises
    InvalidInput for columns that the samples do not have.
    """

    kernel: Kernel
    columns: slice | tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.columns, slice):
            columns = tuple(int(column) for column in self.columns)
            if len(set(columns)) != len(columns):
                raise InvalidInput(f"columns must be distinct, got {columns}")
            object.__setattr__(self, "columns", columns)

    def __hash__(self) -> int:  # before Python 3.12 a slice has none of its own
        return hash((self.kernel, repr(self.columns)))

    @property
    def decomposes(self) -> bool:
        return self.kernel.decomposes

    @property
    def compares_histograms(self) -> bool:
        return self.kernel.compares_histograms

    def __call__(self, X: Any, Y: Any = None) -> Floats:
        return self.kernel(self._of(X), None if Y is None else self._of(Y))

    def gradient(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return self._spread(X, self.kernel.gradient(self._of(X), self._of(Y), weights))

    def relevance(self, X: Any, Y: Any, weights: Floats) -> Floats:
        return self._spread(X, self.kernel.relevance(self._of(X), self._of(Y), weights))

    def scored(self, X: Any, Y: Any, weights: Floats) -> tuple[Floats, Floats]:
        scores, part = self.kernel.scored(self._of(X), self._of(Y), weights)
        return scores, self._spread(X, part)

    def diagonal(self, X: Any) -> Floats:
        return self.kernel.diagonal(self._of(X))

    def diagonal_gradient(self, X: Any) -> Floats:
        return self._spread(X, self.kernel.diagonal_gradient(self._of(X)))

    def diagonal_relevance(self, X: Any) -> Floats:
        return self._spread(X, self.kernel.diagonal_relevance(self._of(X)))

    def fitted(self, X: Floats) -> Columns:
        return Columns(self.kernel.fitted(self._of(X)), self.columns)

    def change(self, X: Floats, roots: Floats, Y: Floats, weights: Floats) -> Floats:
        part = self.kernel.change(self._of(X), self._of(roots), self._of(Y), weights)
        return self._spread(X, part)

    def diagonal_change(self, X: Floats, roots: Floats) -> Floats:
        return self._spread(X, self.kernel.diagonal_change(self._of(X), self._of(roots)))

    def along(self, X: Floats, C: Floats, Y: Floats) -> Along:
        return self.kernel.along(self._of(X), self._of(C), self._of(Y))

    def _index(self) -> slice | list[int]:
        return self.columns if isinstance(self.columns, slice) else list(self.columns)

    def _of(self, X: Any) -> Floats:
        samples = as_samples(X)
        try:
            chosen = samples[:, self._index()]
        except IndexError:
            raise InvalidInput(
                f"columns {self.columns} of samples that have {samples.shape[1]} features"
            ) from None
        if not chosen.shape[1]:
            raise InvalidInput(f"columns {self.columns} choose none of {samples.shape[1]} features")
        return chosen

    def _spread(self, X: Any, part: Floats) -> Floats:
        whole = np.zeros(as_samples(X).shape)
        whole[:, self._index()] = part
        return whole


def _terms(kernel: Kernel) -> Combined:
    return kernel if isinstance(kernel, Combined) else Combined((kernel,), (1.0,))


def as_samples(X: Any) -> Floats:
    """X as float64 `[n, d]`; InvalidInput for sparse matrices and other shapes."""
    if hasattr(X, "toarray"):
        raise InvalidInput("kernels take dense samples, got a sparse matrix; pass X.toarray()")
    samples = np.asarray(X, dtype=np.float64)
    if samples.ndim != 2:
        raise InvalidInput(f"samples must be [n, d], got shape {list(samples.shape)}")
    return samples


def as_pair(X: Any, Y: Any) -> tuple[Floats, Floats]:
    """Samples and vectors with the same number of features; Y is X where it is None."""
    samples = as_samples(X)
    vectors = samples if Y is None else as_samples(Y)
    if samples.shape[1] != vectors.shape[1]:
        raise InvalidInput(
            f"samples have {samples.shape[1]} features and the vectors {vectors.shape[1]}"
        )
    return samples, vectors
