"""Relevance through computation graphs: record, plan, propagate; and what extensions are made
of."""

from .flow import Flow
from .operations.choice import Maximum, WindowPool
from .operations.elementwise import Activation
from .operations.family import Context, Family, OneInput, Refused, Share, only
from .operations.fixed_maps import FunctionMap, Scale
from .operations.follow import Follow
from .operations.linear import Linear, Term
from .operations.maps import Convolution, Dense, LinearMap
from .operations.movement import Move
from .operations.product import Product, Quotient
from .operations.registry import keep_whole, register_operation
from .parts import Part
from .recording import Operation, Recording, Value
from .rules import Rule

__all__ = [
    "Activation",
    "Context",
    "Convolution",
    "Dense",
    "Family",
    "Flow",
    "Follow",
    "FunctionMap",
    "Linear",
    "LinearMap",
    "Maximum",
    "Move",
    "OneInput",
    "Operation",
    "Part",
    "Product",
    "Quotient",
    "Recording",
    "Refused",
    "Rule",
    "Scale",
    "Share",
    "Term",
    "Value",
    "WindowPool",
    "keep_whole",
    "only",
    "register_operation",
]
