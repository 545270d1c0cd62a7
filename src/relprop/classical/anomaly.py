"""What makes a sample an inlier or an outlier (thesis A.9, A.10, A.13, A.1.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInput, UnsupportedOperation
from .expansion import Expansion, Notes
from .kernel import as_pair
from .kernels import DistanceKernel
from .machines import KernelOneClass
from .shared import Floats, Shared
from .svdd import KernelSVDD


def inlierness(
    machine: KernelOneClass | KernelSVDD, X: Any, *, candidates: Any = None, root: Any = None
) -> tuple[Shared, Notes]:
    """Relevance that speaks for normality, `[n, d]`: it shares the decision function.

    One-class SVM: R_d = sum_i alpha_i k_d(x_i, x), R_b = -rho (A.9); SVDD: what the squared
    distance to the centre takes from r^2. X, `candidates` and `root` as in `Expansion.decompose`:
    a kernel that does not decompose is expanded at a root, towards candidates on the other side
    of the decision, such as known or made-up outliers. Raises as it, and UnsupportedOperation.
    """
    return _shared(machine, X, 1.0, candidates, root)


def outlierness(
    machine: KernelOneClass | KernelSVDD, X: Any, *, candidates: Any = None, root: Any = None
) -> tuple[Shared, Notes]:
    """Relevance that speaks for an anomaly, `[n, d]`: it shares the negative decision function.

    SVDD: each feature's part of the squared distance to the centre, R_b = -r^2 (A.10, A.13).
    Otherwise as `inlierness`.
    """
    return _shared(machine, X, -1.0, candidates, root)


def soft_min_outlierness(
    machine: KernelOneClass | KernelSVDD | Expansion, X: Any
) -> tuple[Floats, Shared]:
    """o = -log sum_i alpha_i exp(-gamma D(x, y_i)), `[n]`, and its relevance, `[n, d]` (A.1.1).

    The deep Taylor form of Kauffmann et al. (2020), for kernels exp(-gamma D) of a distance D =
    sum_d D_d and for alpha_i above 0, which are scaled to sum to one: o is 0 or more, grows with
    the distance from the support vectors, and needs no root. It is shared over the support vectors
    by soft-min, R_i = o alpha_i exp(-gamma D_i) / sum_j alpha_j exp(-gamma D_j), and over
    features by R_d = sum_i R_i D_d(x, y_i) / D(x, y_i). At a support vector itself D_i = 0 has
    nothing to share R_i by: it is counted as lost.

    Raises UnsupportedOperation for other kernels and weights.
    """
    expansion = machine if isinstance(machine, Expansion) else _expansion_of(machine)
    kernel, vectors = expansion.kernel, expansion.vectors
    weights = -expansion.weights if isinstance(machine, KernelSVDD) else expansion.weights
    if not isinstance(kernel, DistanceKernel):
        raise UnsupportedOperation(
            f"{type(kernel).__name__} is no kernel of a distance; the soft-min form is for Rbf and "
            "ChiSquared, inlierness and outlierness for all"
        )
    if not (weights > 0).all():
        raise UnsupportedOperation(
            "the soft-min form needs weights above 0, as one-class machines have"
        )
    samples, _ = as_pair(X, vectors)
    distances = kernel.distances(samples, vectors)
    costs = float(kernel.gamma) * distances - np.log(weights / weights.sum())
    nearest = costs.min(1, keepdims=True)
    shares = np.exp(nearest - costs)
    total = shares.sum(1, keepdims=True)
    score = nearest[:, 0] - np.log(total[:, 0])
    received = score[:, None] * shares / total
    apart = distances > 0
    rates = np.divide(received, distances, out=np.zeros_like(received), where=apart)
    nothing = np.zeros(len(samples))
    lost = np.where(apart, 0.0, received).sum(1)
    return score, Shared(kernel.spread(samples, vectors, rates), nothing, nothing, lost)


def _shared(machine: Any, X: Any, sign: float, candidates: Any, root: Any) -> tuple[Shared, Notes]:
    shared, notes = _expansion_of(machine).decompose(X, candidates=candidates, root=root)
    turn = -sign if isinstance(machine, KernelSVDD) else sign
    figures = (shared.relevance, shared.bias, shared.stabiliser, shared.lost)
    return Shared(*(turn * figure for figure in figures)), notes


def _expansion_of(machine: Any) -> Expansion:
    if not isinstance(machine, KernelOneClass | KernelSVDD):
        raise UnsupportedOperation(
            f"{type(machine).__name__} is no one-class machine of relprop; fit a KernelOneClass "
            "or a KernelSVDD"
        )
    if not hasattr(machine, "expansions_"):
        raise InvalidInput(f"{type(machine).__name__} is not fitted: call fit(X) first")
    return machine.expansions_[0]
