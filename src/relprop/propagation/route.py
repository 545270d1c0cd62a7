"""Route: everything about a run that does not depend on the numbers in it.

An explainer keeps routes for the shapes that it has seen: the operations, their plan, where the
samples stand, which values to keep. Constants that the plan was made of are remembered too; when
they change, the route is out of date.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from .doubts import holds
from .layout import Layout
from .layouts import find_layouts
from .operations.linear import Linear
from .operations.movement import Move
from .operations.registry import HANDLERS, overloads
from .operations.weights import Weight
from .plan import Plan
from .recording import Operation, Recording, Value, leaves, replace_leaves
from .traits import EMBEDDINGS, traits

ENDINGS = set(
    overloads("_softmax", "_log_softmax", "sigmoid", "_safe_softmax", "log_sigmoid_forward")
)
CONVOLUTION = torch.ops.aten.convolution.default
DETACHED = set(overloads("detach", "alias"))


@dataclass(frozen=True, eq=False)
class Ending:
    """The softmax or sigmoid that ends a model, if one does, and the moves behind it."""

    operation: Operation | None = None
    moves: tuple[Operation, ...] = ()

    def output(self, recording: Recording) -> Tensor:
        """What the model said without it."""
        if self.operation is None:
            return recording.tensor(recording.output_value)
        present = recording.tensor(next(self.operation.inputs()))
        for move in self.moves:
            given = replace_leaves((move.args, move.kwargs), _given(present))
            present = move.target(*given[0], **given[1])
        return present


def find_ending(recording: Recording) -> Ending:
    """Look for a softmax or sigmoid behind which elements only move."""
    producers = recording.producers()
    moves: list[Operation] = []
    operation = producers.get(recording.output_value.index)
    while operation is not None and operation.target not in ENDINGS:
        handler = HANDLERS.get(operation.target)
        family = handler(operation) if handler is not None else None
        inputs = list(operation.inputs())
        if not (isinstance(family, Move) and family.keeps_order):
            return Ending()
        moves.append(operation)
        operation = producers.get(inputs[0].index)
    return Ending() if operation is None else Ending(operation, tuple(reversed(moves)))


def _given(tensor: Tensor) -> Any:
    return lambda leaf: tensor if isinstance(leaf, Value) else leaf


@dataclass(frozen=True, eq=False)
class Route:
    """A recording without its data, its plan, and what was worked out about them once."""

    recording: Recording
    plan: Plan
    preset: str
    ending: Ending
    layouts: tuple[Layout, ...]
    reached: frozenset[int]  # the values that the output depends on
    keeps: frozenset[int]  # the values that are read after the run
    shared: frozenset[int]  # the values that lie in the same memory as another one
    channels_last: bool = False  # whether images are given to the model so
    departures: int = 0  # how often the model has left it, one after the other
    constants: tuple[Tensor, ...] = ()
    copies: tuple[Tensor, ...] = ()

    @cached_property
    def composes(self) -> bool:
        """Whether functions must be seen as a whole, or a detour around autograd as it is."""
        targets = [operation.target for operation in self.recording.operations]
        return any(target in DETACHED or not isinstance(target, OpOverload) for target in targets)

    @cached_property
    def pure(self) -> list[bool]:
        """Whether each operation is one of ATen's that changes nothing in place."""
        targets = [operation.target for operation in self.recording.operations]
        return [isinstance(t, OpOverload) and not traits(t).mutable for t in targets]

    @cached_property
    def kernels(self) -> dict[int, Weight]:
        """The weights of convolutions that are kept in another order, by the tensor's identity."""
        held = [
            (operation, term.map.held)
            for step in self.plan.steps
            if isinstance(step.family, Linear)
            for operation in (step.operation, *step.folded)
            for term in step.family.terms
            if term.map.held is not None and term.map.held.keep
        ]
        return {
            id(operation.args[1]): weight
            for operation, weight in held
            if operation.target is CONVOLUTION
            and isinstance(operation.args[1], Tensor)
            and operation.args[1].data_ptr() == weight.tensor.data_ptr()
        }

    @property
    def is_current(self) -> bool:
        """Whether the constants are still what the plan was made of."""
        present = _joined(self.constants)
        return len(present) == len(self.copies) and all(
            one.shape == two.shape and holds(one.eq(two).all())
            for one, two in zip(present, self.copies, strict=True)
        )

    def again(self, values: list[Tensor | None], **given: Any) -> Recording:
        """The recording with the values of another run, and what else it was given."""
        return replace(self.recording, values=values, **given)


def make_route(recording: Recording, plan: Plan, preset: str, ending: Ending) -> Route:
    """The route of a recording, whose values it does not hold."""
    read = {index for step in plan.steps for index in step.reads}
    ends = () if ending.operation is None else ending.operation.inputs()
    bare = replace(recording, values=[None] * len(recording.values), input_tensors=[])
    return Route(
        bare,
        plan,
        preset,
        ending,
        tuple(find_layouts(recording, plan.families)),
        frozenset(recording.ancestors()),
        frozenset(read | {recording.output_value.index} | {value.index for value in ends}),
        frozenset(_shared(recording)),
    )


def remembered(route: Route) -> Route:
    """The route ready to be followed, with copies of its constants to know when they change.

    Weights that maps read anew each time need none.
    """
    live = {
        (operation.index, id(term.map.held.tensor))
        for step in route.plan.steps
        if isinstance(step.family, Linear)
        for term in step.family.terms
        for operation in (step.operation, *step.folded)
        if term.map.held is not None
    }
    found = {
        id(leaf): leaf
        for operation in route.recording.operations
        if operation.target not in EMBEDDINGS
        for leaf in leaves((operation.args, operation.kwargs))
        if isinstance(leaf, Tensor) and (operation.index, id(leaf)) not in live
    }
    constants = tuple(found.values())
    copies = tuple(_joined(constants))
    return replace(route, constants=constants, copies=copies)


def _joined(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The elements of all tensors, one tensor for each dtype and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach().reshape(-1))
    return [torch.cat(group) for group in groups.values()]


def _shared(recording: Recording) -> set[int]:
    owners: dict[int, list[int]] = {}
    for index, tensor in enumerate(recording.values):
        if tensor is not None:
            owners.setdefault(tensor.untyped_storage().data_ptr(), []).append(index)
    return {index for group in owners.values() if len(group) > 1 for index in group}
