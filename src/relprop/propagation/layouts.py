"""Where the samples stand in every value of a recording."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidInput
from .layout import Layout
from .operations.choice import Maximum, WindowPool
from .operations.family import Family, Refused
from .operations.fixed_maps import Scale
from .operations.follow import Follow
from .operations.linear import Linear
from .operations.movement import Concatenation, Move
from .operations.normalisation import Spread, Standardisation
from .operations.product import Product, Quotient, Softmax
from .operations.windows import gather, valid
from .parts import ONES
from .recording import Operation, Recording, Value


def find_layouts(recording: Recording, families: Sequence[Family | None]) -> list[Layout]:
    """One layout for each value; the samples lead unless a move took them elsewhere.

    Raises InvalidInput where an operation mixes the samples of a batch.
    """
    samples = recording.batch
    layouts = [Layout(samples)] * len(recording.values)
    if samples == 1:
        return layouts
    matters = recording.ancestors()
    for operation in recording.operations:
        family = families[operation.index]
        matter = any(v is not None and v.index in matters for v in operation.outputs)
        if family is None or not matter:
            continue
        if _keeps_leading(operation, family, layouts, samples):
            continue
        for value, ids in zip(
            operation.outputs, _moved_ids(operation, family, layouts), strict=False
        ):
            if value is not None and ids is not None:
                layouts[value.index] = Layout.of_ids(samples, ids)
    return layouts


def _keeps_leading(
    operation: Operation, family: Family, layouts: list[Layout], samples: int
) -> bool:
    inputs = list(operation.inputs() if isinstance(family, Refused) else family.sources)
    if not all(layouts[v.index].leading for v in inputs):
        return False
    if isinstance(family, Move) and family.keeps_order:
        return True
    if _is_elementwise(family):
        return all(_is_aligned(value, operation.output) for value in operation.inputs())
    if _works_along_samples(family):
        return False
    outputs = [v for v in operation.outputs if v is not None]
    values = [*inputs, *outputs]
    if not all(v.ndim and v.shape[0] % samples == 0 for v in values):
        return False
    if isinstance(family, (Move, Follow, Concatenation)):
        return _first_axis_stays(operation)
    return True


def _is_elementwise(family: Family) -> bool:
    """Whether inputs of other shapes are broadcast."""
    if isinstance(family, Linear):
        return all(isinstance(term.map, Scale) for term in family.terms)
    if isinstance(family, Maximum):
        return not family.axes
    return isinstance(family, Quotient) or (isinstance(family, Product) and not family.is_matrix)


def _is_aligned(value: Value, output: Value) -> bool:
    """Whether broadcasting puts the samples of an input where the output has them."""
    return 0 < value.ndim == output.ndim and value.shape[0] == output.shape[0]


def _works_along_samples(family: Family) -> bool:
    """Whether an operation may combine elements along the first axis."""
    if isinstance(family, Softmax):
        return family.axes == (0,)
    if isinstance(family, (Maximum, Spread, Standardisation)):
        return 0 in family.axes
    if isinstance(family, Product):
        return family.is_matrix and family.first.ndim < 3
    if isinstance(family, Linear):
        return any(t.map.left or t.map.over_first for t in family.terms)
    return False


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
    if name == "expand":
        return _is_aligned(args[0], operation.output)
    return name in ("constant_pad_nd", "reflection_pad2d") and args[0].ndim > 1


def _moved_ids(operation: Operation, family: Family, layouts: list[Layout]) -> list[Tensor | None]:
    """The ids of the outputs: moved like the elements, or the one sample that each output sees."""

    def ids_of(value: Value) -> Tensor:
        return layouts[value.index].sample_ids(value.shape, torch.device("cpu"))

    first, output = next(operation.inputs()), operation.output
    if _is_elementwise(family):
        ids = ids_of(first).expand(output.shape)
        for value in operation.inputs():
            ids = _agreed(operation, ids, ids_of(value).expand(output.shape))
        return [ids]
    if isinstance(family, Linear):
        return [_seen_ids(operation, family, layouts)]
    if isinstance(family, (Move, Follow, Concatenation)):
        follow = family if isinstance(family, Follow) else Follow(operation)
        numbered = follow.send(lambda value: ids_of(value).double() + 1)
        return [_filled(ids - 1, layouts[output.index]) for ids in numbered]
    if isinstance(family, Maximum) and family.axes:
        for axis in family.axes:
            _require(operation, ids_of(first), axis)
        return [ids_of(first).amax(family.axes, keepdim=family.keep)]
    if isinstance(family, Spread):
        ids = ids_of(first)
        for axis in family.axes:
            ids = _require(operation, ids, axis)
        return [ids.reshape(output.shape)]
    if isinstance(family, (Softmax, Standardisation)):
        ids = ids_of(first)
        ids = ids.reshape(family.grouped) if isinstance(family, Standardisation) else ids
        for axis in family.axes:
            _require(operation, ids, axis)
    if isinstance(family, Product) and family.is_matrix:
        rows = _require(operation, ids_of(family.first), -1)
        columns = _require(operation, ids_of(family.second), -2)
        return [_agreed(operation, rows.expand(output.shape), columns.expand(output.shape))]
    if isinstance(family, WindowPool):
        windows, real = gather(ids_of(first), family.axes), valid(family.axes, torch.device("cpu"))
        inner = tuple(range(windows.ndim - 2 * len(family.axes) + 1, windows.ndim, 2))
        low = torch.where(real, windows, layouts[first.index].samples).amin(inner)
        return [_agreed(operation, low, torch.where(real, windows, -1).amax(inner))]
    same = next((v for v in operation.inputs() if v.shape == output.shape), None)
    return [None if same is None else ids_of(same)]


def _require(operation: Operation, ids: Tensor, axis: int) -> Tensor:
    """The ids with `axis` reduced to one; all along it must belong to one sample."""
    low, high = ids.amin(axis, keepdim=True), ids.amax(axis, keepdim=True)
    return _agreed(operation, low, high)


def _agreed(operation: Operation, first: Tensor, second: Tensor) -> Tensor:
    if torch.equal(first, second):
        return first
    raise InvalidInput(
        f"{operation.name} in {operation.module or 'the model'} mixes the samples of the batch, "
        "so there "
        "is no relevance per sample; explain one sample at a time"
    )


def _filled(ids: Tensor, leading: Layout) -> Tensor:
    """Constants among moved elements (-1) belong to the sample where they stand if samples lead."""
    if bool((ids >= 0).all()):
        return ids
    expected = (
        leading.sample_ids(ids.shape, ids.device) if ids.numel() % leading.samples == 0 else ids
    )
    return torch.where(ids < 0, expected.clamp(min=0), ids)


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
    mixed = (spread.abs() > 1e-3).long()
    _agreed(operation, mixed, torch.zeros_like(mixed))
    return mean.round().long().expand(operation.output.shape)
