"""A recorded run again, followed by autograd, with other operations in the place of some.

The recording knows every operation, whichever way the model was written: functional, reused and
in-place ones can be replaced, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, UnsupportedOperation
from ..propagation.checks import check_batch
from ..propagation.operations.movement import Move
from ..propagation.operations.registry import HANDLERS
from ..propagation.recording import Operation, Recording, Value, leaves, replace_leaves
from ..propagation.route import Ending, find_ending
from ..propagation.traits import EMBEDDINGS
from .objective import Ask, Maps, Pass, gradients_at

aten = torch.ops.aten
Replaced = Callable[[Operation], Callable[..., Any] | None]


def _copied(target: Tensor, source: Tensor, *_: Any) -> Tensor:
    """What aten.copy makes, which has no derivative of its own."""
    return source.to(target.dtype).expand(target.shape)


DERIVABLE: dict[Any, Callable[..., Any]] = {aten.copy.default: _copied}


def as_recorded(operation: Operation) -> Callable[..., Any] | None:
    """Nothing is replaced."""
    return None


def replay(
    recording: Recording,
    points: Mapping[int, Tensor],
    *,
    keep: Collection[int] = (),
    replaced: Replaced = as_recorded,
) -> Recording:
    """The recording with values that autograd follows back to `points`, by the index of the value.

    What depends on no point stays as it was recorded. `replaced` gives the function that stands in
    for an operation, or None. Values that are not in `keep` are let go when they have been read.
    """
    values = list(recording.values)
    for index, tensor in points.items():
        values[index] = tensor
    depends = set(points)
    last = {value.index: op.index for op in recording.operations for value in op.inputs()}

    def present(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return values[leaf.index]
        return leaf.detach() if isinstance(leaf, Tensor) and leaf.requires_grad else leaf

    with torch.inference_mode(False), torch.enable_grad():
        for operation in recording.operations:
            read = {value.index for value in operation.inputs()}
            if read & depends:
                function = replaced(operation) or DERIVABLE.get(operation.target, operation.target)
                args, kwargs = replace_leaves((operation.args, operation.kwargs), present)
                results = leaves((function(*args, **kwargs),))
                for value, tensor in zip(operation.outputs, results, strict=True):
                    if value is not None and value.index not in points:
                        values[value.index] = tensor
                        depends.add(value.index)
            for index in read - set(keep):
                if last[index] == operation.index:
                    values[index] = None
    return replace(recording, values=values)


def replayed_pass(
    recording: Recording, ask: Ask, *, replaced: Replaced = as_recorded, tokens: bool = False
) -> Pass:
    """The gradients of a recorded run, whose values are let go.

    With `tokens`, token ids get the gradient of their embedding. Raises InvalidInput where they
    may not, and where the output does not depend on an input.
    """
    check_batch(recording.output_value, recording.input_tensors)
    points, starts = _points(recording, tokens=tokens)
    recording.forget(range(len(recording.values)))
    ending = find_ending(recording)
    keep = ends_of(recording, ending)
    with torch.inference_mode(False), torch.enable_grad():
        again = replay(recording, starts, keep=keep, replaced=replaced)
        output = ending.output(again)
        said = again.tensor(recording.output_value)
        start = ask(output.detach(), said.detach())
        if not output.requires_grad:
            raise _independent(recording, 0)
        gradients = derived(output, points, start.weights)
    for found in gradients:
        for number, (point, gradient) in enumerate(zip(points, found, strict=True)):
            if point is not None and gradient is None:
                raise _independent(recording, number)
    return Pass(output.detach(), start, points, gradients, notes_on(recording, ending))


def derived(output: Tensor, points: Sequence[Tensor | None], weights: Sequence[Tensor]) -> Maps:
    """`gradients_at` of a replay; UnsupportedOperation where an operation has no derivative."""
    try:
        return gradients_at(output, points, weights)
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise UnsupportedOperation(f"autograd finds no way back: {error}") from error


def ends_of(recording: Recording, ending: Ending) -> set[int]:
    """The values that the output is read from, with and without the ending."""
    before = () if ending.operation is None else ending.operation.inputs()
    return {recording.output_value.index, *(value.index for value in before)}


def notes_on(recording: Recording, ending: Ending) -> tuple[str, ...]:
    """What the recording noted, and whether an ending was left out."""
    if ending.operation is None:
        return recording.notes
    return (*recording.notes, left_out(ending.operation.name))


def left_out(name: str) -> str:
    """The note on the ending of a model."""
    return f"{name} at the end of the model is left out: what stands before it is explained"


def _points(recording: Recording, *, tokens: bool) -> tuple[list[Tensor | None], dict[int, Tensor]]:
    """For each input where its gradient is taken; and what the values are that a replay starts
    from.
    """
    embedded = embeddings(recording)
    points: list[Tensor | None] = []
    starts: dict[int, Tensor] = {}
    for number, tensor in enumerate(recording.input_tensors):
        value = recording.input_values[number]
        point = None
        if tensor.is_floating_point():
            point = tensor.detach().clone().requires_grad_()
        elif number in embedded:
            if not tokens:
                raise InvalidInput(
                    f"input {number} holds token ids, which have no gradient; methods 'lrp', "
                    "'gradient-x-input' and 'sensitivity' give one number a token, or pass the "
                    "embedding as a float input"
                )
            output = embedded[number].output
            point = recording.tensor(output).detach().clone().requires_grad_()
            starts[output.index] = point
        points.append(point)
        if value is not None:
            starts[value.index] = tensor if point is None or number in embedded else point
    return points, starts


def embeddings(recording: Recording) -> dict[int, Operation]:
    """The operations that embed token ids, by the number of the input that holds these."""
    inputs = {v.index: number for number, v in enumerate(recording.input_values) if v is not None}
    found: dict[int, Operation] = {}
    for operation in recording.operations:
        read = next(operation.inputs())
        number = inputs.get(read.index)
        if number is None:
            continue
        if operation.target in EMBEDDINGS:
            if number in found:
                raise UnsupportedOperation(
                    f"the token ids of input {number} are embedded twice, in "
                    f"{found[number].module!r} and {operation.module!r}; pass the embedding as a "
                    "float input"
                )
            found[number] = operation
        elif _keeps_order(operation):
            inputs[operation.output.index] = number
    return found


def _keeps_order(operation: Operation) -> bool:
    handler = HANDLERS.get(operation.target)
    if handler is None:
        return False
    family = handler(operation)
    return isinstance(family, Move) and family.keeps_order


def _independent(recording: Recording, number: int) -> InvalidInput:
    shape = tuple(recording.input_tensors[number].shape)
    return InvalidInput(
        f"the output does not depend on input {number} of shape {shape}, or only through "
        "detach(), so there is no gradient; leave it out, or pass it through a lambda"
    )
