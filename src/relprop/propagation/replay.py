"""Replay a recording with gradients, so that relevance can be trained against (thesis 7.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .recording import Operation, Recording, Value, leaves, replace_leaves


def _copied(into: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(into, non_blocking=non_blocking).expand_as(into)


# Instead of what autograd has no derivative for.
DERIVABLE: dict[Any, Callable[..., Any]] = {torch.ops.aten.copy.default: _copied}


def replay(recording: Recording, parameters: dict[int, Tensor]) -> Recording:
    """The same recording with values that autograd follows back to the parameters and the inputs.

    The recorded run tracked the parameters too: what depends on them alone becomes a constant with
    a gradient, and the operations that remain are those that depend on the inputs.
    """
    values: list[Tensor | None] = list(recording.values)
    for index, parameter in parameters.items():
        values[index] = parameter
    depends = set()
    for value, tensor in zip(recording.input_values, recording.input_tensors, strict=True):
        if value is not None:
            values[value.index] = tensor
            depends.add(value.index)

    def present(leaf: Any) -> Any:
        return values[leaf.index] if isinstance(leaf, Value) else leaf

    def constant(leaf: Any) -> Any:
        return leaf if not isinstance(leaf, Value) or leaf.index in depends else values[leaf.index]

    operations: list[Operation] = []
    with torch.enable_grad():
        for operation in recording.operations:
            args, kwargs = replace_leaves((operation.args, operation.kwargs), present)
            run = DERIVABLE.get(operation.target, operation.target)
            results = leaves((run(*args, **kwargs),))
            for value, tensor in zip(operation.outputs, results, strict=True):
                if value is not None:
                    values[value.index] = tensor
            if any(value.index in depends for value in operation.inputs()):
                depends.update(value.index for value in operation.outputs if value is not None)
                args, kwargs = replace_leaves((operation.args, operation.kwargs), constant)
                operations.append(
                    replace(operation, index=len(operations), args=args, kwargs=kwargs)
                )
    return replace(recording, operations=operations, values=values)
