"""Functions of pairs of numbers, over all pairs of samples and vectors, in blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ..errors import InvalidInput
from .shared import Floats

# Fills a table `out` for numbers x and y that broadcast to it; `spare` is one more to work in.
Pairwise = Callable[[Floats, Floats, Floats, Floats], object]
BLOCK = 2**17  # numbers in one table [n, m, d]: 1 MiB, which stays in the cache
TINY = np.finfo(np.float64).tiny


def summed(pairwise: Pairwise, X: Floats, Y: Floats) -> Floats:
    """sum_d pairwise(x_d, y_d), `[n, m]`."""
    total, ones = np.empty((len(X), len(Y))), np.ones(X.shape[1])
    for rows, vectors, table in _tables(pairwise, X, Y):
        total[rows, vectors] = table @ ones
    return total


def weighted(pairwise: Pairwise, X: Floats, Y: Floats, coefficients: Floats) -> Floats:
    """sum_i c_i pairwise(x_d, y_id), `[n, d]`, for `coefficients [m]` or `[n, m]`."""
    total = np.zeros(X.shape)
    factors = np.broadcast_to(coefficients, (len(X), len(Y)))
    for rows, vectors, table in _tables(pairwise, X, Y):
        total[rows] += (factors[rows, None, vectors] @ table)[:, 0]
    return total


def summed_and_weighted(
    pairwise: Pairwise, X: Floats, Y: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """`summed` @ weights, `[n]`, and `weighted`, `[n, d]`, for `weights [m]`, in one go."""
    sums, shares, ones = np.zeros(len(X)), np.zeros(X.shape), np.ones(X.shape[1])
    for rows, vectors, table in _tables(pairwise, X, Y):
        sums[rows] += (table @ ones) @ weights[vectors]
        shares[rows] += weights[vectors] @ table
    return sums, shares


def squared_distances(X: Floats, Y: Floats) -> Floats:
    """||x - y||^2, `[n, m]`, by one matrix product: quick, and exact to the length of x and y."""
    products = X @ Y.T
    products *= -2
    products += np.einsum("nd,nd->n", X, X)[:, None]
    products += np.einsum("md,md->m", Y, Y)
    return np.maximum(products, 0, out=products)


def divide_by_sum(above: Floats, x: Floats, y: Floats, out: Floats, spare: Floats) -> Floats:
    """above / (x + y) for x and y of at least 0, and 0 for 0/0."""
    np.add(x, y, out=spare)
    np.maximum(spare, TINY, out=spare)
    return np.divide(above, spare, out=out)


def at_least_zero(X: Floats, kernel: object) -> Floats:
    """X as it is; InvalidInput, with the kernel's name, where a feature is below 0."""
    if X.size and X.min() < 0:
        raise InvalidInput(
            f"Negative values in data passed to {type(kernel).__name__}, which compares "
            f"histograms: features must be at least 0, got {X.min():g}"
        )
    return X


def _tables(pairwise: Pairwise, X: Floats, Y: Floats) -> Iterator[tuple[slice, slice, Floats]]:
    """The tables [n, m, d] of blocks of samples and vectors, one after the other in one memory:
    to make room for each anew would take longer than to fill it.
    """
    (n, d), m = X.shape, len(Y)
    wide = max(1, min(m, BLOCK // max(d, 1)))
    high = max(1, min(n, BLOCK // max(wide * d, 1)))
    memory = np.empty((2, high * wide * d))
    for begin, start in itertools.product(range(0, n, high), range(0, m, wide)):
        rows, vectors = slice(begin, begin + high), slice(start, start + wide)
        x, y = X[rows, None], Y[None, vectors]
        shape = (len(x), y.shape[1], d)
        out, spare = memory[:, : len(x) * y.shape[1] * d].reshape(2, *shape)
        pairwise(x, y, out, spare)
        yield rows, vectors, out
