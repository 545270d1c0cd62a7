"""Explanations for shap's plots."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch

from ..errors import InvalidInput
from .shared import Floats


def to_shap(explanation: Any, data: Any = None) -> Any:
    """A `shap.Explanation` with relevance as its values.

    Values are `[n, d]`, `[n, d, K]` for K targets, or one array for each document, beside its
    tokens. The base value of a sample is what the ledger shows as absorbed, so that base value +
    sum of values is the explained output.

    Raises ImportError without shap; InvalidInput without a ledger, and for maps of several inputs.
    """
    try:
        shap = import_module("shap")
    except ImportError:
        raise ImportError("to_shap needs shap: pip install shap") from None
    totals = {name: np.asarray(figure) for name, figure in explanation.totals().items()}
    base = totals["received"] - totals["passed"]
    if isinstance(explanation.relevance, list):
        if explanation.grouped:
            raise InvalidInput("shap has no documents or pictures for several targets; choose one")
        tokens = explanation.names
        return shap.Explanation(
            _ragged(explanation.relevance),
            base_values=base,
            data=data if tokens is None else _ragged([np.array(one) for one in tokens]),
        )
    values = _as_array(explanation.relevance)
    if explanation.grouped:
        values = np.moveaxis(values, 1, -1)
    names = explanation.names
    return shap.Explanation(values, base_values=base, data=_as_table(data), feature_names=names)


def _ragged(arrays: list[Any]) -> Any:
    """An array of arrays, as shap holds documents."""
    whole = np.empty(len(arrays), dtype=object)
    whole[:] = arrays
    return whole


def _as_array(relevance: Any) -> Floats:
    if hasattr(relevance, "toarray"):
        relevance = relevance.toarray()
    if isinstance(relevance, torch.Tensor):
        relevance = relevance.detach().cpu().numpy()
    if not isinstance(relevance, np.ndarray):
        raise InvalidInput("shap takes maps of a single input; this explanation has several")
    return relevance


def _as_table(data: Any) -> Any:
    if hasattr(data, "toarray"):
        return data.toarray()
    if isinstance(data, torch.Tensor):
        return data.detach().cpu().numpy()
    return data if data is None else np.asarray(data)
