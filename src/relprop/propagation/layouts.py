"""Where the samples stand in every value of a recording."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from .layout import Layout
from .operations.family import Family
from .operations.linear import Linear
from .operations.maps import ONES
from .operations.movement import Concatenation, Follow, Move
from .recording import Operation, Recording, Value, leaves, replace_leaves


def find_layouts(recording: Recording, families: dict[int, Family]) -> list[Layout]:
    """One layout for each value; the samples lead unless a move took them elsewhere.

    Raises InvalidInput where an operation mixes the samples of a batch.
    """
    samples = recording.batch
    layouts = [Layout(samples)] * len(recording.values)
    if samples == 1:
        return layouts
    for operation in recording.operations:
        family = families.get(operation.index)
        if _keeps_leading(operation, family, layouts, samples):
            continue
        for value, ids in zip(
            operation.outputs, _moved_ids(operation, family, layouts), strict=False
        ):
            if value is not None and ids is not None:
                layouts[value.index] = Layout.of_ids(samples, ids)
    return layouts


def _keeps_leading(
    operation: Operation, family: Family | None, layouts: list[Layout], samples: int
) -> bool:
    if not all(layouts[v.index].leading for v in operation.inputs()):
        return False
    if isinstance(family, Move) and family.keeps_order:
        return True
    outputs = [v for v in operation.outputs if v is not None]
    values = [*operation.inputs(), *outputs]
    if not all(v.ndim and v.shape[0] % samples == 0 for v in values):
        return False
    if isinstance(family, (Move, Follow, Concatenation)):
        return _first_axis_stays(operation)
    return True


def _first_axis_stays(operation: Operation) -> bool:
    """Whether a move surely leaves the sample axis alone, judged by its arguments."""
    name = operation.name.removeprefix("aten.").split(".")[0]
    args = operation.args
    if name == "permute":
        return args[1][0] == 0
    axis = {
        "transpose": lambda: min(a % args[0].ndim for a in args[1:3]),
        "cat": lambda: operation.argument(1, "dim", 0) % args[0][0].ndim,
        "slice": lambda: operation.argument(1, "dim", 0) % args[0].ndim,
        "select": lambda: args[1] % args[0].ndim,
        "split": lambda: operation.argument(2, "dim", 0) % args[0].ndim,
        "split_with_sizes": lambda: operation.argument(2, "dim", 0) % args[0].ndim,
        "unbind": lambda: operation.argument(1, "dim", 0) % args[0].ndim,
    }.get(name)
    if axis is not None:
        return axis() > 0
    return name in ("constant_pad_nd", "reflection_pad2d", "expand") and args[0].ndim > 1


def _moved_ids(
    operation: Operation, family: Family | None, layouts: list[Layout]
) -> list[Tensor | None]:
    """The ids of the outputs: moved like the elements, or the one sample that each output sees."""
    if isinstance(family, Linear):
        return [_seen_ids(operation, family, layouts)]
    if isinstance(family, (Move, Follow, Concatenation)):
        return _followed_ids(operation, layouts)
    if all(v is None or v.shape == next(operation.inputs()).shape for v in operation.outputs):
        first = next(operation.inputs())
        ids = layouts[first.index].sample_ids(first.shape, torch.device("cpu"))
        return [ids for _ in operation.outputs]
    return _followed_ids(operation, layouts)


def _followed_ids(operation: Operation, layouts: list[Layout]) -> list[Tensor | None]:
    def ids_of(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return layouts[leaf.index].sample_ids(leaf.shape, torch.device("cpu")).double()
        if isinstance(leaf, Tensor):
            return (
                torch.zeros_like(leaf, dtype=torch.float64)
                if leaf.is_floating_point()
                else leaf.cpu()
            )
        return leaf

    args, kwargs = replace_leaves((operation.args, operation.kwargs), ids_of)
    kwargs = {key: item for key, item in kwargs.items() if key not in ("dtype", "device")}
    result = operation.target(*args, **kwargs)
    return [leaf.round().long() if isinstance(leaf, Tensor) else None for leaf in leaves((result,))]


def _seen_ids(operation: Operation, family: Linear, layouts: list[Layout]) -> Tensor:
    total: Tensor | None = None
    count: Tensor | None = None
    squares: Tensor | None = None
    for term in family.terms:
        ids = layouts[term.value.index].sample_ids(term.value.shape, torch.device("cpu")).double()
        terms = [term.map.forward(t, ONES) for t in (ids, ids.square(), torch.ones_like(ids))]
        total = terms[0] if total is None else total + terms[0]
        squares = terms[1] if squares is None else squares + terms[1]
        count = terms[2] if count is None else count + terms[2]
    assert total is not None and count is not None and squares is not None
    mean = total / count.clamp(min=1)
    spread = squares / count.clamp(min=1) - mean.square()
    if bool((spread.abs() > 1e-3).any()):
        raise InvalidInput(
            f"{operation.name} in {operation.module or 'the model'} mixes the samples of the batch; "
            "explain one sample at a time"
        )
    return mean.round().long().expand(operation.output.shape)
