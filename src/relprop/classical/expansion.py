"""A function that is a weighted sum of kernels, and its relevance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInput, UnknownName
from .kernel import Kernel, as_samples
from .kernels import Linear
from .roots import find_roots
from .shared import Floats, Shared

ROWS = 4096  # samples scored at a time


@dataclass(frozen=True)
class Notes:
    """How an expansion was decomposed.

    Attributes:
        way: "exact", or "Taylor" at a root point.
        score: `[n]`, f(x), which costs little beside its decomposition.
        roots: `[n, d]`, the root points; None where the way is exact.
        at_roots: `[n]`, f there, which the root search leaves within 1e-5 of 0.
        residual: `[n]`, what the first order leaves out: f(x) - f(root) - sum of relevance.
    """

    way: str
    score: Floats
    roots: Floats | None = None
    at_roots: Floats | None = None
    residual: Floats | None = None


@dataclass(frozen=True, eq=False)
class Expansion:
    """f(x) = sum_i weights_i k(y_i, x) + own k(x, x) + sum_d offsets_d + bias.

    Attributes:
        kernel: a Kernel with numbers for parameters.
        vectors: `[m, d]`, the y_i; weights: `[m]`.
        bias: R_b, which belongs to no feature.
        own: the weight of k(x, x), for distances in feature space (thesis A.10).
        offsets: `[d]`, constants that belong to features; None for none.

    Raises InvalidInput for shapes that do not fit.
    """

    kernel: Kernel
    vectors: Floats
    weights: Floats
    bias: float = 0.0
    own: float = 0.0
    offsets: Floats | None = None

    def __post_init__(self) -> None:
        vectors = as_samples(self.vectors)
        weights = np.asarray(self.weights, dtype=np.float64)
        if weights.shape != vectors.shape[:1]:
            raise InvalidInput(
                f"{len(vectors)} vectors need weights [{len(vectors)}], got {list(weights.shape)}"
            )
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "bias", float(self.bias))

    def score(self, X: Any) -> Floats:
        """f(x), `[n]`, for `X [n, d]`."""
        samples = self._samples(X)
        parts = [
            self.kernel(samples[begin : begin + ROWS], self.vectors) @ self.weights
            for begin in range(0, len(samples), ROWS)
        ]
        return np.concatenate([np.empty(0), *parts]) + self._constant + self._own(samples)

    def gradient(self, X: Any) -> Floats:
        """df(x)/dx, `[n, d]`."""
        samples = self._samples(X)
        gradient = self.kernel.gradient(samples, self.vectors, self.weights)
        if self.own:
            gradient += self.own * self.kernel.diagonal_gradient(samples)
        return gradient

    def decompose(
        self, X: Any, *, bias: str = "absorb", candidates: Any = None, root: Any = None
    ) -> tuple[Shared, Notes]:
        """Relevance of the features, `[n, d]`, and how it was found.

        Where the kernel decomposes, R_d = sum_i weights_i k_d(y_i, x) (thesis 2.72), and the bias
        is kept apart ("absorb"), spread evenly ("distribute", 2.73), or, for a linear kernel, by
        its weights ("weights", 2.74 with w_d^2 / ||w||^2). Other kernels are expanded at a root
        point, R_d = df/dx_d(root) (x - root)_d (2.76), where constants cancel. There `lost` is f at
        the root and what the first order leaves out: the latter is what is left of f(x), so that
        its size, not its sum, says how good the expansion is. In a sum of both kinds, each kernel
        goes its way.

        Args:
            X: samples `[n, d]`.
            bias: "absorb", "distribute" or "weights".
            candidates: `[c, d]`, points towards which roots are sought, where f has the other
                sign; the vectors themselves if left out.
            root: `[d]` or `[n, d]`, root points that are known already.

        Raises InvalidInput, UnknownName, and NoRootFound where no candidate is on the other side.
        """
        samples = self._samples(X)
        if bias not in (*SPREADS, "absorb"):
            raise UnknownName("way to handle the bias", bias, ("absorb", *SPREADS))
        if self.kernel.decomposes:
            return self._exact(samples, bias)
        values = self.score(samples)
        return self._at_roots(samples, values, self._roots(samples, values, candidates, root))

    def _exact(self, samples: Floats, bias: str) -> tuple[Shared, Notes]:
        scores, relevance = self.kernel.scored(samples, self.vectors, self.weights)
        notes = Notes("exact", scores + self._constant + self._own(samples))
        if self.own:
            relevance += self.own * self.kernel.diagonal_relevance(samples)
        if self.offsets is not None:
            relevance += self.offsets
        nothing = np.zeros(len(samples))
        if bias != "absorb":
            return Shared.exact(relevance + self.bias * SPREADS[bias](self)), notes
        return Shared(relevance, np.full(len(samples), self.bias), nothing, nothing), notes

    def _at_roots(self, samples: Floats, values: Floats, roots: Floats) -> tuple[Shared, Notes]:
        relevance = self.kernel.change(samples, roots, self.vectors, self.weights)
        if self.own:
            relevance += self.own * self.kernel.diagonal_change(samples, roots)
        at_roots = self.score(roots)
        residual = values - at_roots - relevance.sum(1)
        nothing = np.zeros(len(samples))
        notes = Notes("Taylor", values, roots, at_roots, residual)
        return Shared(relevance, nothing, nothing, at_roots + residual), notes

    def _roots(self, samples: Floats, values: Floats, candidates: Any, root: Any) -> Floats:
        if root is not None:
            return self._given(samples, root)
        points = self.vectors if candidates is None else self._samples(candidates)
        along = self._along(samples, points)
        return find_roots(along, samples, points, values, self.score(points))

    def _given(self, samples: Floats, root: Any) -> Floats:
        roots = np.asarray(root, dtype=np.float64)
        if roots.shape not in (samples.shape, samples.shape[1:]):
            raise InvalidInput(
                f"root must be {list(samples.shape[1:])} or {list(samples.shape)}, "
                f"got {list(roots.shape)}"
            )
        return np.broadcast_to(roots, samples.shape)

    def _along(self, samples: Floats, points: Floats) -> Callable[[Any, Any, Floats], Floats]:
        kernel = self.kernel.along(samples, points, self.vectors)

        def value(of: Any, to: Any, t: Floats) -> Floats:
            scores = kernel(of, to, t) @ self.weights + self._constant
            if self.own:
                between = samples[of] + t[:, None] * (points[to] - samples[of])
                scores += self._own(between)
            return scores

        return value

    @property
    def _constant(self) -> float:
        return self.bias + (0.0 if self.offsets is None else float(self.offsets.sum()))

    def _own(self, samples: Floats) -> Floats | float:
        return self.own * self.kernel.diagonal(samples) if self.own else 0.0

    def _samples(self, X: Any) -> Floats:
        samples = as_samples(X)
        if samples.shape[1] != self.vectors.shape[1]:
            raise InvalidInput(
                f"samples have {samples.shape[1]} features, the model {self.vectors.shape[1]}"
            )
        if not np.isfinite(samples).all():
            row, column = np.argwhere(~np.isfinite(samples))[0]
            raise InvalidInput(
                f"sample {row} has {samples[row, column]} in feature {column}; it must be finite"
            )
        return samples


def _evenly(expansion: Expansion) -> Floats:
    """1/d (thesis 2.73)."""
    features = expansion.vectors.shape[1]
    return np.full(features, 1 / features)


def _by_weights(expansion: Expansion) -> Floats:
    """w_d^2 / ||w||^2: 2.74 with squares, since as printed it does not sum to one."""
    if not isinstance(expansion.kernel, Linear):
        raise InvalidInput(
            'bias="weights" needs a linear kernel, whose w has one weight a feature; '
            'use "absorb" or "distribute"'
        )
    squares = (expansion.weights @ expansion.vectors) ** 2
    return squares / squares.sum() if squares.any() else _evenly(expansion)


SPREADS: dict[str, Callable[[Expansion], Floats]] = {
    "distribute": _evenly,
    "weights": _by_weights,
}
