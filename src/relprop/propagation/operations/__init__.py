"""What operations are: one handler for each family, registered by operation."""

from . import (
    choice,
    elementwise,
    embedding,
    follow,
    layers,
    merge,
    movement,
    normalisation,
    pooling,
    product,
)
from .registry import HANDLERS, KINDS, register_operation

__all__ = ["HANDLERS", "KINDS", "register_operation"]
_FAMILIES = (
    choice,
    elementwise,
    embedding,
    follow,
    layers,
    merge,
    movement,
    normalisation,
    pooling,
    product,
)
