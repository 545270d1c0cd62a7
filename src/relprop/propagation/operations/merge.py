"""Merges by addition and subtraction: linear over the branches (thesis 2.39)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..recording import Operation, Value
from .family import Family
from .layers import scaling
from .linear import Linear, Term
from .registry import overloads, register_operation


@register_operation(*overloads("add.Tensor", "add.Scalar"))
def add(operation: Operation) -> Family:
    """first + alpha * second."""
    return weighted_sum([(operation.args[0], 1), (operation.args[1], _alpha(operation))])


@register_operation(*overloads("sub.Tensor", "sub.Scalar"))
def subtract(operation: Operation) -> Family:
    """first - alpha * second."""
    return weighted_sum([(operation.args[0], 1), (operation.args[1], -_alpha(operation))])


@register_operation(*overloads("rsub.Tensor", "rsub.Scalar"))
def subtract_from(operation: Operation) -> Family:
    """second - alpha * first."""
    return weighted_sum([(operation.args[1], 1), (operation.args[0], -_alpha(operation))])


@register_operation(*overloads("lerp.Scalar"))
def interpolate_between(operation: Operation) -> Family:
    """first + weight * (second - first)."""
    first, second, weight = operation.args
    return weighted_sum([(first, 1 - weight), (second, weight)])


def weighted_sum(branches: list[tuple[Any, float]]) -> Family:
    """A sum of branches with factors; constant branches become the operation's constant."""
    terms = [Term(x, scaling(float(factor), x)) for x, factor in branches if isinstance(x, Value)]
    constant: Tensor | None = None
    for x, factor in branches:
        if not isinstance(x, Value):
            part = (x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)) * factor
            constant = part if constant is None else constant + part
    return Linear(terms, constant, kind="merge")


def _alpha(operation: Operation) -> float:
    return operation.argument(2, "alpha", 1)
