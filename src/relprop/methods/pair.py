"""Two runs of a model side by side: on the inputs, and on the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedOperation
from ..propagation.checks import check_batch
from ..propagation.layouts import find_layouts
from ..propagation.operations.family import Family, Refused
from ..propagation.operations.movement import Move
from ..propagation.operations.registry import HANDLERS
from ..propagation.record import record
from ..propagation.recording import (
    Operation,
    Recording,
    Value,
    is_continuous,
    leaves,
    replace_leaves,
)
from ..propagation.route import find_ending
from .replayed import DERIVABLE, notes_on

Received = Sequence[Tensor | None]  # one entry for each output of an operation


@dataclass(frozen=True, eq=False)
class Step:
    """One operation in both runs."""

    x: Operation
    reference: Operation
    family: Family

    @property
    def name(self) -> str:
        return f"{self.x.name} in {self.x.module or 'the model'}"


@dataclass(frozen=True, eq=False)
class Pair:
    """A run on the inputs beside a run on the references, operation by operation.

    `end` is the output before a softmax that ends the model, `outputs` its data in both runs.
    """

    x: Recording
    reference: Recording
    steps: list[Step]
    end: Value
    outputs: tuple[Tensor, Tensor]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: Any, inputs: Any, references: Any) -> Pair:
        """Run the model on both. Raises UnsupportedOperation where it takes two ways."""
        x, reference = (record(model, given, layers=()) for given in (inputs, references))
        check_batch(x.output_value, x.input_tensors)
        families = [_family(operation) for operation in x.operations]
        find_layouts(x, families)  # refuses what mixes samples
        ending = find_ending(x)
        end = x.output_value if ending.operation is None else next(ending.operation.inputs())
        steps = _aligned(replace(x, output_value=end), reference, families)
        outputs = (ending.output(x), find_ending(reference).output(reference))
        return cls(x, reference, steps, end, outputs, notes_on(x, ending))

    def values(self, value: Value) -> tuple[Tensor, Tensor]:
        """The value at the inputs and at the references."""
        return self.x.tensor(value), self.reference.tensor(value)

    def change(self, value: Value) -> Tensor:
        """How the value differs from its reference."""
        x, reference = self.values(value)
        return torch.where(x == reference, torch.zeros_like(x), x - reference)  # inf - inf is 0

    def between(self, step: Step, fraction: float) -> dict[int, Tensor]:
        """The inputs of an operation on the way from the references (0) to the inputs (1)."""
        found = {}
        for value in step.x.inputs():
            x, reference = self.values(value)
            if fraction in (0.0, 1.0):
                found[value.index] = x if fraction else reference
                continue
            way = reference + fraction * (x - reference) if is_continuous(x.dtype) else x
            found[value.index] = torch.where(x == reference, x, way)
        return found


def rerun(operation: Operation, inputs: Mapping[int, Tensor]) -> list[Any]:
    """What an operation returns for other inputs, by the index of their values."""
    args, kwargs = replace_leaves(
        (operation.args, operation.kwargs),
        lambda leaf: inputs[leaf.index] if isinstance(leaf, Value) else leaf,
    )
    function = DERIVABLE.get(operation.target, operation.target)
    return leaves((function(*args, **kwargs),))


def pull_back(
    operation: Operation, family: Family, inputs: Mapping[int, Tensor], received: Received
) -> list[tuple[Value, Tensor]]:
    """What arrives at the outputs of an operation times its Jacobian at `inputs`, by autograd.

    A move sends it back as it came, also through `detach`.
    """
    if isinstance(family, Move):
        return [(family.value, family.back(received))]
    sources = {v.index: v for v in operation.inputs() if is_continuous(v.dtype)}
    with torch.enable_grad():
        given = {index: inputs[index].detach().requires_grad_() for index in sources}
        results = rerun(operation, {**inputs, **given})
        reached = [
            (result, part)
            for result, part in zip(results, received, strict=True)
            if part is not None and result.requires_grad
        ]
        if not reached:
            return []
        outputs, parts = zip(*reached, strict=True)
        found = torch.autograd.grad(outputs, list(given.values()), parts, allow_unused=True)
    pairs = zip(sources.values(), found, strict=True)
    return [(value, gradient) for value, gradient in pairs if gradient is not None]


def _family(operation: Operation) -> Family | None:
    handler = HANDLERS.get(operation.target)
    if handler is None:
        return None
    try:
        return handler(operation)
    except UnsupportedOperation as error:
        return Refused(str(error))


def _aligned(x: Recording, reference: Recording, families: Sequence[Family | None]) -> list[Step]:
    """The operations that the output depends on, which must be the same in both runs."""
    if len(x.operations) != len(reference.operations):
        raise UnsupportedOperation(
            f"the model takes another way at the reference: {len(reference.operations)} "
            f"operations, and {len(x.operations)} at the inputs"
        )
    matters = x.ancestors()
    steps = []
    for one, other, family in zip(x.operations, reference.operations, families, strict=True):
        if not any(v is not None and v.index in matters for v in one.outputs):
            continue
        place = f"{one.name} in {one.module or 'the model'}"
        if one.target != other.target or one.output.shape != other.output.shape:
            raise UnsupportedOperation(
                f"the model takes another way at the reference: {other.name} instead of {place}"
            )
        if not _same_constants(one, other):
            raise UnsupportedOperation(
                f"{place} has a mask, index or number that is another at the reference, so "
                "there is no difference to follow"
            )
        steps.append(Step(one, other, Refused("it has no handler") if family is None else family))
    return steps


def _same_constants(one: Operation, other: Operation) -> bool:
    first, second = (leaves((operation.args, operation.kwargs)) for operation in (one, other))
    return len(first) == len(second) and all(map(_same, first, second))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.shape == other.shape and torch.equal(one, other))
    if isinstance(one, Value) and isinstance(other, Value):
        return one.index == other.index
    return type(one) is type(other) and bool(one == other)
