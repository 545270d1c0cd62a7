"""Functions of pairs of numbers, over all pairs of samples and vectors, in blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ..errors import InvalidInput
from .shared import Floats

Pairwise = Callable[[Floats, Floats], Floats]
BLOCK = 2**17  # numbers in one block of [n, m, d]: 1 MiB, which stays in the cache


def summed(pairwise: Pairwise, X: Floats, Y: Floats) -> Floats:
    """sum_d pairwise(x_d, y_d), `[n, m]`."""
    total = np.empty((len(X), len(Y)))
    for rows, vectors in blocks(len(X), *Y.shape):
        total[rows, vectors] = pairwise(X[rows, None], Y[None, vectors]).sum(2)
    return total


def weighted(pairwise: Pairwise, X: Floats, Y: Floats, coefficients: Floats) -> Floats:
    """sum_i c_i pairwise(x_d, y_id), `[n, d]`, for `coefficients [m]` or `[n, m]`."""
    total = np.zeros(X.shape)
    table = np.broadcast_to(coefficients, (len(X), len(Y)))
    for rows, vectors in blocks(len(X), *Y.shape):
        terms = pairwise(X[rows, None], Y[None, vectors])
        total[rows] += (table[rows, None, vectors] @ terms)[:, 0]
    return total


def squared_distances(X: Floats, Y: Floats) -> Floats:
    """||x - y||^2, `[n, m]`, by one matrix product: quick, and exact to the length of x and y."""
    products = X @ Y.T
    products *= -2
    products += np.einsum("nd,nd->n", X, X)[:, None]
    products += np.einsum("md,md->m", Y, Y)
    return np.maximum(products, 0, out=products)


def quotient(above: Floats, below: Floats) -> Floats:
    """above / below, and 0 where below is 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.zeros(shape), where=below != 0)


def at_least_zero(X: Floats, kernel: object) -> Floats:
    """X as it is; InvalidInput, with the kernel's name, where a feature is below 0."""
    if X.size and X.min() < 0:
        raise InvalidInput(
            f"Negative values in data passed to {type(kernel).__name__}, which compares "
            f"histograms: features must be at least 0, got {X.min():g}"
        )
    return X


def blocks(n: int, m: int, d: int) -> Iterator[tuple[slice, slice]]:
    """Slices of samples and vectors whose [n, m, d] table stays small."""
    wide = max(1, min(m, BLOCK // max(d, 1)))
    high = max(1, BLOCK // max(wide * d, 1))
    for begin, start in itertools.product(range(0, n, high), range(0, m, wide)):
        yield slice(begin, begin + high), slice(start, start + wide)
