"""Activation patterns of linear models (Haufe et al. 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInput


def haufe_patterns(inputs: Any, weights: Any) -> Any:
    """The patterns A = cov(x) W cov(s)^-1 of a linear model s = W^T x: what changes in x with s.

    Weights say how to extract a signal, for which they are also needed where there is nothing but
    distraction; patterns say where the signal is (Haufe et al. 2014).

    Args:
        inputs: the data that the model was fitted to, `[n, d]`: an array or a tensor.
        weights: `[d]`, or `[d, K]` for K outputs, or a fitted scikit-learn estimator (`coef_`).

    Returns the patterns in the shape of the weights (`[d, K]` of an estimator with several
    outputs), as an array or a tensor like `inputs`. Raises InvalidInput for shapes that do not fit
    and for fewer than two samples.
    """
    x = torch.as_tensor(inputs)
    coefficients = getattr(weights, "coef_", None)
    w = torch.as_tensor(weights if coefficients is None else _columns(coefficients))
    if x.ndim != 2 or len(x) < 2 or w.ndim not in (1, 2) or len(w) != x.shape[1]:
        raise InvalidInput(
            "patterns need data [n, d] of at least two samples and weights [d] or [d, K], got "
            f"{tuple(x.shape)} and {tuple(w.shape)}"
        )
    centred = x.double() - x.double().mean(0)
    signals = centred @ w.to(centred).reshape(len(w), -1)
    inverse = torch.linalg.pinv(signals.mT @ signals, hermitian=True)
    dtype = x.dtype if x.is_floating_point() else torch.float64
    found = (centred.mT @ signals @ inverse).reshape(w.shape).to(dtype)
    return found if isinstance(inputs, Tensor) else found.numpy()


def _columns(coefficients: Any) -> np.ndarray:
    """scikit-learn's coefficients, `[K, d]` or `[d]`, with a column for each output."""
    found = np.asarray(coefficients)
    return found[0] if found.ndim == 2 and len(found) == 1 else found.T
