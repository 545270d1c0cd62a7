"""What the plan knows about values without looking at them: ranges, gates, element-wise
ancestry."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from .operations.choice import Maximum, WindowPool
from .operations.elementwise import Activation
from .operations.family import Family
from .operations.fixed_maps import Pooled, Scale
from .operations.linear import Linear
from .operations.movement import Concatenation, Move
from .operations.product import Product, Quotient, Softmax
from .operations.registry import overloads
from .recording import Operation, Recording, Value

SQUASHES = set(overloads("sigmoid", "hardsigmoid", "special_expit"))
INVERSE_SCALES = set(overloads("rsqrt", "reciprocal"))
NONNEGATIVE = set(
    overloads(
        "relu",
        "softplus",
        "exp",
        "exp2",
        "abs",
        "sqrt",
        "square",
        "sigmoid",
        "hardsigmoid",
        "rsqrt",
    )
)
SCALES = set(
    overloads(
        "linalg_vector_norm",
        "std.correction",
        "var.correction",
        "norm.Scalar",
        "norm.ScalarOpt_dim",
    )
)


@dataclass(frozen=True)
class Fact:
    """Of one value: bounds, whether it gates (scales) what it multiplies, and its element-wise
    ancestors.

    `bounded`: it went through a squashing or clamping function. `ancestors`: values of which it
    is an element-wise function, nearest last, itself included; `curves` counts the activations
    passed.
    """

    low: float = -inf
    high: float = inf
    bounded: bool = False
    scale: bool = False
    curves: int = 0
    ancestors: tuple[int, ...] = ()

    @property
    def gates(self) -> bool:
        """A factor between 0 and 1 that was squashed into it, or an inverse scale (1/std)."""
        return self.scale or (self.bounded and self.low >= 0 and self.high <= 1)


def gather_facts(recording: Recording, families: list[Family | None]) -> list[Fact]:
    """One fact for each value, in one pass forward over the operations."""
    facts = [Fact(ancestors=(index,)) for index in range(len(recording.values))]
    for operation, family in zip(recording.operations, families, strict=True):
        for value in operation.outputs:
            if value is not None:
                facts[value.index] = _fact(operation, family, value, facts)
    return facts


def _fact(operation: Operation, family: Family | None, value: Value, facts: list[Fact]) -> Fact:
    inputs = [facts[v.index] for v in operation.inputs()]
    low, high, bounded, scale = _range(operation, family, inputs)
    ancestors: tuple[int, ...] = ()
    pointwise = isinstance(family, (Activation, Product)) or (
        isinstance(family, Linear) and all(isinstance(term.map, Scale) for term in family.terms)
    )
    if pointwise and all(v.shape == value.shape for v in operation.inputs()):
        ancestors = tuple(a for a in inputs[0].ancestors if all(a in i.ancestors for i in inputs))
    curves = max(i.curves for i in inputs) + isinstance(family, Activation)
    return Fact(low, high, bounded, scale, curves, (*ancestors, value.index))


def _range(
    operation: Operation, family: Family | None, inputs: list[Fact]
) -> tuple[float, float, bool, bool]:
    first = inputs[0]
    target, numbers = operation.target, [a for a in operation.args if isinstance(a, (int, float))]
    if target in SQUASHES:
        return 0.0, 1.0, True, False
    if target in INVERSE_SCALES:
        return (0.0 if first.low >= 0 or "rsqrt" in str(target) else -inf), inf, False, True
    if target in SCALES:
        return 0.0, inf, False, True
    if isinstance(family, Softmax):
        return 0.0, 1.0, False, False
    if isinstance(family, Activation):
        return _activation_range(operation, first, numbers)
    if isinstance(family, Maximum) and family.constant is not None:
        return (first.low if "maximum" in str(target) else -inf), inf, False, False
    if isinstance(family, (Move, WindowPool, Maximum)) and len({id(f) for f in inputs}) == 1:
        return first.low, first.high, first.bounded, first.scale
    if isinstance(family, Concatenation):
        if len(family.sources) == len(family.pieces):
            return min(f.low for f in inputs), max(f.high for f in inputs), False, False
        return -inf, inf, False, False
    if isinstance(family, Linear):
        return _linear_range(family, inputs)
    if isinstance(family, (Product, Quotient)):
        low = 0.0 if all(f.low >= 0 for f in inputs) else -inf
        gates = first.gates if isinstance(family, Quotient) else all(f.gates for f in inputs)
        return low, inf, False, gates
    return -inf, inf, False, False


def _activation_range(
    operation: Operation, first: Fact, numbers: list[float]
) -> tuple[float, float, bool, bool]:
    name = str(operation.target)
    if name.startswith(("aten.hardtanh", "aten.clamp.")):
        low, high = clamp_limits(operation)
        if isinstance(low, Tensor) or isinstance(high, Tensor):
            return -inf, inf, False, False
        ends = min(max(low, first.low), high), max(min(high, first.high), low)
        return *ends, low > -inf and high < inf, False
    if name.startswith("aten.clamp_min") and numbers:
        return max(numbers[0], first.low), max(numbers[0], first.high), first.bounded, first.scale
    if name == "aten.pow.Tensor_Scalar":
        even = numbers[0] % 2 == 0
        return (0.0 if even or first.low >= 0 else -inf), inf, False, numbers[0] < 0
    if name.startswith(("aten.tanh", "aten.erf.")):
        return -1.0, 1.0, True, False
    if operation.target in NONNEGATIVE:
        return 0.0, inf, False, False
    return -inf, inf, False, False


def clamp_limits(operation: Operation) -> tuple[float | Tensor, float | Tensor]:
    """The lowest and the highest value that a clamp or hardtanh lets through."""
    hardtanh = str(operation.target).startswith("aten.hardtanh")
    names = ("min_val", "max_val") if hardtanh else ("min", "max")
    defaults = (-1.0, 1.0) if hardtanh else (None, None)
    limits = [
        operation.argument(i, name, default)
        for i, (name, default) in enumerate(zip(names, defaults, strict=True), start=1)
    ]
    low, high = limits
    return (-inf if low is None else low), (inf if high is None else high)


def _linear_range(family: Linear, inputs: list[Fact]) -> tuple[float, float, bool, bool]:
    first, maps = inputs[0], [term.map for term in family.terms]
    if family.kind == "pooling" and isinstance(maps[0], Pooled) and first.low >= 0:
        return 0.0, inf, first.bounded, first.scale
    constant = 0.0 if family.constant is None else _number(family.constant)
    factors = [m.number if isinstance(m, Scale) else None for m in maps]
    if constant is None or None in factors:
        return -inf, inf, False, False
    ends = [_scaled(fact, factor or 0.0) for fact, factor in zip(inputs, factors, strict=True)]
    low, high = (sum(end[i] for end in ends) + constant for i in (0, 1))
    alone = len(maps) == 1
    return low, high, alone and first.bounded, alone and first.scale


def _number(factor: Tensor) -> float | None:
    """A factor or constant that was written as a number; tensors of the model are not looked at."""
    return float(factor) if factor.ndim == 0 and factor.dtype == torch.float64 else None


def _scaled(fact: Fact, factor: float) -> tuple[float, float]:
    if factor == 0:
        return 0.0, 0.0
    ends = fact.low * factor, fact.high * factor
    return min(ends), max(ends)


def common_source(first: Value, second: Value, facts: list[Fact]) -> int | None:
    """The nearest value of which both factors are element-wise functions, with an activation
    between.

    Then their product is an activation of that value written out: x * sigmoid(x), 0.5 x (1 +
    erf(x)).
    """
    one, two = facts[first.index], facts[second.index]
    shared = [a for a in one.ancestors if a in two.ancestors]
    if not shared or max(one.curves, two.curves) == facts[shared[-1]].curves:
        return None
    return shared[-1]
