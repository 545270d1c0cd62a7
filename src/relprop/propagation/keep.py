"""Keep: which recorded values the walk reads, so that no others need be kept.

Relevance vanishes where a value is zero under most rules (R_i is x_i times something). So where a
ReLU alone reads a result, outputs that are not positive have no relevance, and z can be read from
what the ReLU made of it: the same tensor that the next layer reads.
"""

from __future__ import annotations

import torch

from .facts import clamp_limits
from .operations.choice import Maximum, WindowPool
from .operations.elementwise import Activation, LeftOut
from .operations.embedding import Embedding
from .operations.family import Family
from .operations.follow import Follow
from .operations.linear import Linear
from .operations.movement import Concatenation, Move
from .operations.normalisation import LocalResponse, Standardisation
from .operations.product import GatedLinearUnit, Product, Quotient
from .operations.registry import overloads
from .recording import Operation, Recording, Value
from .rules import Flat, Pass, Rule

RELU = set(overloads("relu"))
KEEP_ZERO = RELU | set(
    overloads(
        *("hardtanh", "leaky_relu", "elu", "gelu", "silu", "mish", "celu", "hardswish", "tanh"),
        *("softshrink", "hardshrink", "prelu", "_prelu_kernel", "selu", "relu6", "abs", "square"),
        *("sqrt", "erf", "expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "asinh", "atanh"),
    )
)
MOVES = (Activation, Move, Concatenation, Follow, GatedLinearUnit, Quotient, Embedding)


class Zeros:
    """Of which values zeros are known to have no relevance; filled as the plan grows, output
    first.
    """

    def __init__(self, recording: Recording, readers: dict[int, list[Operation]]) -> None:
        self.readers, self.output = readers, recording.output_value.index
        self.spared = {self.output: True}

    def read_from(
        self, operation: Operation, family: Family, rule: Rule | None
    ) -> tuple[Value, bool]:
        """Where z is read, and whether outputs that are not positive have no relevance."""
        value = operation.output
        readers = self.readers.get(value.index, [])
        if value.index == self.output or len(readers) != 1 or readers[0].target not in RELU:
            return value, False
        result = readers[0].output
        if not isinstance(family, Linear):
            return value, False
        wide = value.dtype in (torch.float32, torch.float64)
        spared = wide and self.spared.get(result.index, False)
        if rule is None or rule.bias == "ignore" or not spared:
            return value, False
        return (result if rule.reads == "positive output" else value), True

    def pass_on(self, operation: Operation, family: Family, rule: Rule | None) -> None:
        """Relevance goes on to the sources of the family."""
        outputs = [v.index for v in operation.outputs if v is not None]
        above = all(self.spared.get(index, True) for index in outputs)
        spares = _spares(operation, family, rule, above)
        for value in family.sources:
            self.spared[value.index] = self.spared.get(value.index, True) and spares


def _spares(operation: Operation, family: Family, rule: Rule | None, above: bool) -> bool:
    """Whether zero inputs receive nothing, given whether zero outputs have nothing to give."""
    if isinstance(family, LeftOut):
        return True
    if isinstance(rule, (Flat, Pass)):
        return False
    if isinstance(family, Linear):
        return rule is not None and rule.spares
    if isinstance(family, (Standardisation, Product)):
        return rule is None or rule.bias != "distribute"
    if isinstance(family, Activation):
        return above and operation.target in KEEP_ZERO and _includes_zero(operation)
    known = (Move, Concatenation, Follow, WindowPool, Maximum, Quotient, LocalResponse)
    return above and isinstance(family, known)


def _includes_zero(operation: Operation) -> bool:
    """Whether a clamp leaves zero where it is."""
    if not operation.name.startswith("aten.hardtanh"):
        return True
    low, high = clamp_limits(operation)
    return bool(low <= 0 <= high)


def values_read(
    operation: Operation, family: Family, rule: Rule | None, output: Value, *, silent: bool
) -> set[int]:
    """The values whose data the step reads, by index; all it can see where that is not known."""
    if isinstance(family, MOVES):
        return set()
    if isinstance(family, Linear) and isinstance(rule, Pass):
        return set()
    if not isinstance(family, Linear) or rule is None:
        seen = [*operation.inputs(), *operation.outputs, *family.sources]
        return {value.index for value in seen if value is not None}
    needs = rule.reads
    inputs = set() if needs == "nothing" else {value.index for value in family.sources}
    if needs in ("nothing", "inputs"):
        return inputs
    if needs == "sign of the output" and silent and output.dtype == torch.float32:
        return inputs
    return inputs | {output.index}
