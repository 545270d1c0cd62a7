"""The floor: the multiplications that a rule cannot avoid, over a gradient's; and those done.

Counted are the multiplications of convolutions and matrix products, found on a run of the model;
all else (batch norm, activations, pooling, sums) counts as nothing. A layer's unit is its own
forward; one backward to its input costs as much, the first layer's included, since the input's
relevance and the input's gradient need it alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry as formulas

import relprop

from . import candidates
from .measure import Step

# Forwards of a layer: for inputs that are never negative, and for others. What depends on shapes,
# weights and bounds alone is not counted: Flat's counts, the sums of WSquare, the bounds of Box.
#
# Epsilon: z; one product backwards.
# ZPlus: z, z+ and one backwards. Where inputs have both signs, z+ = (z - b + |x||w|) / 2, and what
#   goes back is (x w + |x||w|) / 2: two backwards.
# AlphaBeta, Gamma: z, z+ (z- is the rest), and two backwards (w and |w|, or w+ and w-).
# Box: z, and two backwards, since w- = w - w+.
# Flat: z alone, for what it shares is the same for all channels of an input. WSquare: z; one
#   backwards. Magnitude: z, |x||w| and one backwards.
FORWARDS = {
    "Epsilon": (2, 2),
    "ZPlus": (3, 4),
    "AlphaBeta": (4, 4),
    "Gamma": (4, 4),
    "Flat": (1, 1),
    "WSquare": (2, 2),
    "Box": (3, 3),
    "Magnitude": (3, 3),
    "Pass": (1, 1),
}
# The same right below a ReLU, which lets nothing through where z <= 0. Gamma then favours w+ alone:
# z, x (w + gamma w+) and one backwards.
BELOW_RELU = FORWARDS | {"Gamma": (3, 4)}


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product of the model, and the sign of what goes in."""

    operation: str
    multiplications: int
    nonnegative: bool


class _Counter(TorchDispatchMode):
    """Adds up the multiplications of a run, backward included."""

    def __init__(self) -> None:
        super().__init__()
        self.multiplications = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = formulas.get(func._overloadpacket)
        if formula is not None:  # which counts the additions too
            self.note(func, args, formula(*args, **(kwargs or {}), out_val=result) // 2)
        return result

    def note(self, func: Any, args: tuple[Any, ...], multiplications: int) -> None:
        """One convolution or matrix product."""
        self.multiplications += multiplications


class _Products(_Counter):
    """Keeps every product of a forward run apart."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def note(self, func: Any, args: tuple[Any, ...], multiplications: int) -> None:
        """addmm takes its bias before what goes through the weights."""
        biased = func._overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.baddbmm)
        nonnegative = bool((args[1 if biased else 0] >= 0).all())
        self.products.append(Product(str(func), multiplications, nonnegative))


def products(network: nn.Module, batch: Tensor) -> list[Product]:
    """The convolutions and matrix products of one run, in order."""
    with torch.no_grad(), _Products() as watch:
        network(batch)
    return watch.products


def done(step: Step) -> int:
    """The multiplications of a call, backward included."""
    with _Counter() as counter:
        step()
    return counter.multiplications


def forwards(rule: str, *, nonnegative: bool, below_relu: bool) -> int:
    """The forwards of a layer under a rule as the plan writes it; KeyError for one not known."""
    name, arguments = re.findall(r"^(\w+)\(?(.*?)\)?$", rule.removeprefix("folded: "))[0]
    if name == "AlphaBeta" and re.match(r"(alpha=)?1(\.0)?\b(?!\.)", arguments):
        name = "ZPlus"
    return (BELOW_RELU if below_relu else FORWARDS)[name][0 if nonnegative else 1]


def floor(preset: str, network: nn.Module, batch: Tensor) -> float | None:
    """The multiplications that a preset needs at least, over a gradient's.

    None where an operation is refused, or is neither a dense layer nor a convolution (attention).
    """
    found = products(network, batch)
    names = {product.operation for product in found}
    coverage = relprop.Explainer(network, rules=preset).coverage(batch)
    relus = below_relus(network, batch)
    rows = [
        (row, relu) for row, relu in zip(coverage, relus, strict=True) if row.operation in names
    ]
    if coverage.refused or [row.operation for row, _ in rows] != [p.operation for p in found]:
        return None
    needed = sum(
        product.multiplications
        * forwards(row.rule, nonnegative=product.nonnegative, below_relu=relu)
        for product, (row, relu) in zip(found, rows, strict=True)
    )
    return needed / done(candidates.gradient(network, batch))


def below_relus(network: nn.Module, batch: Tensor) -> list[bool]:
    """For each recorded operation whether a ReLU alone reads it, a batch norm between or not."""
    operations = relprop.record(network, batch).operations
    readers: dict[int, list[Any]] = {}
    for operation in operations:
        for value in operation.inputs():
            readers.setdefault(value.index, []).append(operation)

    def reader(operation: Any) -> Any:
        found = readers.get(operation.output.index, [])
        if len(found) == 1 and "batch_norm" in found[0].name:
            return reader(found[0])
        return found[0] if len(found) == 1 else None

    return [_is_relu(reader(operation)) for operation in operations]


def _is_relu(operation: Any) -> bool:
    """ReLU, or ReLU6, which is recorded as a hardtanh from 0."""
    if operation is None:
        return False
    if operation.name.startswith("aten.hardtanh."):
        return float(operation.args[1]) == 0
    return bool(operation.name.startswith("aten.relu."))
