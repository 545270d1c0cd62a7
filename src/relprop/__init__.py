"""relprop explains the predictions of machine-learning models by Layer-wise Relevance Propagation.

`explain` gives every input component a signed contribution; together they are the output. See
S. Lapuschkin, Opening the Machine Learning Black Box with Layer-wise Relevance Propagation (PhD
thesis, TU Berlin, 2019), "the thesis" in this package; equation numbers are its.
"""

from importlib import import_module
from typing import Any

from . import errors, propagation
from .explain import explain, record
from .explainer import Explainer
from .propagation.coverage import Coverage
from .propagation.ledger import Ledger
from .propagation.presets import Preset, presets, where
from .propagation.recording import Recording
from .propagation.rules import (
    AlphaBeta,
    Box,
    Constant,
    Epsilon,
    Flat,
    Gamma,
    Magnitude,
    Pass,
    Rule,
    WSquare,
    ZPlus,
)
from .result import Explanation

__version__ = "0.1.0"

__all__ = [
    "AlphaBeta",
    "Box",
    "Constant",
    "Coverage",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Flat",
    "Gamma",
    "Ledger",
    "Magnitude",
    "Pass",
    "Preset",
    "Recording",
    "Rule",
    "WSquare",
    "ZPlus",
    "__version__",
    "errors",
    "explain",
    "presets",
    "propagation",
    "record",
    "where",
]

_ROOMS = ("classical", "data", "evaluation", "methods", "models", "viz")
_FUNCTIONS = {"compare_checkpoints": ".checkpoints", "evaluate": ".comparing", "tune": ".tuning"}


def __getattr__(name: str) -> Any:
    """The other rooms, and what needs them, loaded when they are first asked for."""
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name], __name__), name)
    raise AttributeError(f"module 'relprop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_FUNCTIONS})
