"""Parameters of rules: what is refused, and how they are written."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import InvalidRule

BIAS_MODES = ("absorb", "distribute", "ignore")


def check_parameters(rule: Any, limits: Mapping[str, tuple[float, float]]) -> None:
    """Numbers within their limits, switches that are one, and a way with biases that is known."""
    name = type(rule).__name__
    for parameter, (low, high) in limits.items():
        number = getattr(rule, parameter)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise InvalidRule(f"{name}: {parameter} must be a number, got {number!r}")
        if not (low <= number <= high and abs(number) < sys.float_info.max):
            raise InvalidRule(f"{name}: {parameter} must be in [{low}, {high}], got {number}")
    for parameter in ("relative", "redistribute"):
        if not isinstance(getattr(rule, parameter, False), bool):
            raise InvalidRule(f"{name}: {parameter} must be True or False")
    if rule.bias not in BIAS_MODES:
        raise InvalidRule(f"{name}: bias must be one of {', '.join(BIAS_MODES)}, got {rule.bias!r}")


def check_bounds(low: Any, high: Any) -> None:
    """The bounds of Box: both or none, finite, the low one at most the high one."""
    if (low is None) != (high is None):
        raise InvalidRule(
            "Box: give both low and high, or neither (then model.preprocessing is asked)"
        )
    if low is None:
        return
    try:
        lowest, highest = torch.as_tensor(low), torch.as_tensor(high)
        ordered = bool((lowest <= highest).all())
        valid = ordered and bool(torch.isfinite(highest - lowest).all())
    except (TypeError, ValueError, RuntimeError):
        valid = False
    if not valid:
        raise InvalidRule(
            "Box: low and high must be finite numbers, or one for each channel, with low at most "
            f"high; got low={low}, high={high}"
        )


def written(parameter: Any) -> str:
    """A parameter as the name of a rule shows it."""
    return f"{parameter:g}" if isinstance(parameter, float) else str(parameter)
