"""Sharing by contributions: z_k = sum_d W_kd x_d + b_k, R_d = sum_k x_d W_kd R_k / z_k."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from .shared import Floats, Shared

_BLOCK = 1 << 22  # entries of a sparse matrix times outputs that are worked on at once


def share_affine(
    inputs: Any, weights: Floats, offset: Any, outputs: Floats, relevance: Any, epsilon: float = 0.0
) -> Shared:
    """Relevance `[n, K]` of `outputs` to the inputs `[n, d]` by the epsilon rule (2.10, 2.22).

    `weights` are `[K, d]`, `offset` is what constants add to the outputs, `[K]` or a number.
    """
    ratio, stabiliser, lost = quotients(outputs, dense(relevance), epsilon)
    return Shared(contributions(inputs, ratio, weights), (ratio * offset).sum(1), stabiliser, lost)


def share_diagonal(
    inputs: Any, scale: Any, offset: Any, outputs: Any, relevance: Any, epsilon: float = 0.0
) -> Shared:
    """The same where every output has one input: z_d = scale_d x_d + offset_d."""
    ratio, stabiliser, lost = quotients(dense(outputs), dense(relevance), epsilon)
    return Shared(dense(inputs) * scale * ratio, (ratio * offset).sum(1), stabiliser, lost)


def quotients(outputs: Floats, relevance: Floats, epsilon: float) -> tuple[Floats, Floats, Floats]:
    """R / (z + epsilon sign z), and `[n]` what epsilon absorbed and what outputs of 0 lost."""
    guard = epsilon * np.where(outputs >= 0, 1.0, -1.0)
    denominators = outputs + guard
    empty = denominators == 0
    ratio = np.where(empty, 0.0, relevance) / np.where(empty, 1.0, denominators)
    return ratio, (ratio * guard).sum(1), np.where(empty, relevance, 0.0).sum(1)


def contributions(inputs: Any, ratio: Floats, weights: Floats) -> Any:
    """x_d sum_k ratio_k W_kd, `[n, d]`; sparse inputs give a sparse result, without a dense
    `[n, d]` on the way.
    """
    if not sparse.issparse(inputs):
        return inputs * (ratio @ weights)
    entries = sparse.coo_array(inputs)
    slopes = np.empty(entries.nnz)
    block = max(1, _BLOCK // weights.shape[0])
    columns = np.ascontiguousarray(weights.T)
    for begin in range(0, entries.nnz, block):
        part = slice(begin, begin + block)
        slopes[part] = np.einsum("ek,ek->e", ratio[entries.row[part]], columns[entries.col[part]])
    shape = (entries.row, entries.col)
    return sparse.csr_array(sparse.coo_array((entries.data * slopes, shape), entries.shape))


def dense(values: Any) -> Floats:
    """The values as float64 numpy."""
    if sparse.issparse(values):
        values = values.toarray()
    return np.asarray(values, dtype=np.float64)


def numbers(inputs: Any) -> Any:
    """The inputs as float64 `[n, d]`: numpy, or a sparse array where they are sparse."""
    if sparse.issparse(inputs):
        return sparse.csr_array(inputs, dtype=np.float64)
    return np.asarray(inputs, dtype=np.float64)
