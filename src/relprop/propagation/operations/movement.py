"""Operations that move elements: relevance follows them; a copied element collects the sum of
its copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..recording import Operation, Value, leaves, replace_leaves
from ..rules import Rule
from .family import Context, Family, Refused, Share, Sharer
from .registry import keep_whole, overloads, register_operation

aten = torch.ops.aten
Back = Callable[[Sequence[Tensor | None]], Tensor]


@dataclass(frozen=True, eq=False)
class Move(Family):
    """A move of the elements of one tensor, with its inverse."""

    value: Value
    back: Back
    keeps_order: bool = False  # a view: the elements stand in the same row-major order
    kind: str = field(default="movement", kw_only=True)
    default: ClassVar[str] = "follow the elements"

    @property
    def sources(self) -> Sequence[Value]:
        return [self.value]

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        return lambda relevance: Share([self.back(relevance)])


@dataclass(frozen=True, eq=False)
class Concatenation(Family):
    """Concatenation along an axis: the relevance is cut up again; constant pieces absorb theirs."""

    pieces: Sequence[Any]
    axis: int
    kind: str = field(default="movement", kw_only=True)
    default: ClassVar[str] = "follow the elements"

    @property
    def sources(self) -> Sequence[Value]:
        return [piece for piece in self.pieces if isinstance(piece, Value)]

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        sizes = [piece.shape[self.axis] for piece in self.pieces]
        output = context.operation.output

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = relevance[0]
            assert received is not None
            parts = received.split(sizes, self.axis)
            own = [
                p for p, piece in zip(parts, self.pieces, strict=True) if isinstance(piece, Value)
            ]
            if len(own) == len(parts):
                return Share(list(own))
            absorbed = [
                torch.zeros_like(p) if isinstance(piece, Value) else p
                for p, piece in zip(parts, self.pieces, strict=True)
            ]
            return Share(list(own), bias=context.sum(torch.cat(absorbed, self.axis), output))

        return share


@dataclass(frozen=True, eq=False)
class Follow(Family):
    """Any move, followed by sending numbered elements through the operation itself.

    Elements of dependent inputs are numbered from 1; constants, fills and padding are 0, and what
    arrives there is booked as bias. `fills` are the positions of scalar arguments that are written
    into the result.
    """

    operation: Operation
    fills: tuple[int, ...] = ()
    kind: str = field(default="movement", kw_only=True)
    default: ClassVar[str] = "follow the elements"

    @property
    def sources(self) -> Sequence[Value]:
        return list({value.index: value for value in self.operation.inputs()}.values())

    def send(self, stand_in: Callable[[Value], Tensor]) -> list[Tensor]:
        """The operation with each dependent input replaced (float64) and constants and fills by
        0."""

        def replaced(leaf: Any) -> Any:
            if isinstance(leaf, Value):
                return stand_in(leaf)
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                return torch.zeros_like(leaf, dtype=torch.float64)
            return leaf

        args = list(replace_leaves(self.operation.args, replaced))
        for position in self.fills:
            if position < len(args):
                args[position] = 0
        kwargs = replace_leaves(self.operation.kwargs, replaced)
        kwargs = {key: item for key, item in kwargs.items() if key not in ("dtype", "value")}
        moved = leaves(self.operation.target(*args, **kwargs))
        return [leaf.round().long() for leaf in moved if isinstance(leaf, Tensor)]

    def numbered(self, device: torch.device) -> list[Tensor]:
        """For every output the number of the element that stands in each place."""
        starts, following = {}, 1
        for value in self.sources:
            starts[value.index] = following
            following += value.shape.numel()

        def number(value: Value) -> Tensor:
            ids = torch.arange(value.shape.numel(), dtype=torch.float64, device=device)
            return ids.reshape(value.shape) + starts[value.index]

        return self.send(number)

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        device = context.tensor(self.sources[0]).device
        everything = self.numbered(device)
        outputs = [
            (position, value, ids)
            for position, (value, ids) in enumerate(
                zip(self.operation.outputs, everything, strict=False)
            )
            if value is not None
        ]
        sizes = [value.shape.numel() for value in self.sources]

        def share(relevance: Sequence[Tensor | None]) -> Share:
            collected = torch.zeros(1 + sum(sizes), dtype=context.dtype, device=device)
            result = Share([])
            for position, value, ids in outputs:
                received = relevance[position]
                if received is None:
                    continue
                collected = collected.index_add(0, ids.flatten(), received.flatten())
                absorbed = context.sum(torch.where(ids == 0, received, 0.0), value)
                result.bias = absorbed if result.bias is None else result.bias + absorbed
            pieces = collected[1:].split(sizes)
            result.messages = [
                piece.reshape(value.shape)
                for piece, value in zip(pieces, self.sources, strict=True)
            ]
            return result

        return share


def _view(x: Value) -> Family:
    return Move(x, lambda relevance: _only(relevance).reshape(x.shape), keeps_order=True)


def _only(relevance: Sequence[Tensor | None]) -> Tensor:
    found = next(tensor for tensor in relevance if tensor is not None)
    return found


@register_operation(
    *overloads("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten.using_ints"),
    *overloads(
        "unsqueeze", "squeeze", "squeeze.dim", "squeeze.dims", "unflatten.int", "view.dtype"
    ),
    *overloads(
        "clone", "alias", "detach", "contiguous", "_to_copy", "lift_fresh", "lift", "to.dtype"
    ),
    *overloads(
        "view_copy", "unsqueeze_copy", "detach_copy", "alias_copy", "positive", "_conj", "dropout"
    ),
)
def view(operation: Operation) -> Family:
    """Views, copies and casts: the same elements in the same order."""
    x = operation.args[0]
    if x.shape.numel() != operation.output.shape.numel():
        return Refused(f"{operation.name} changes the number of elements")
    return _view(x)


@register_operation(*overloads("permute", "transpose.int", "t"))
def permute(operation: Operation) -> Family:
    """Axes in another order."""
    x, target = operation.args[0], operation.target
    order = list(range(x.ndim))
    if target is aten.permute.default:
        order = [axis % x.ndim for axis in operation.args[1]]
    elif x.ndim > 1:
        first, second = operation.args[1:3] if target is aten.transpose.int else (0, 1)
        order[first], order[second] = order[second], order[first]
    inverse = sorted(range(x.ndim), key=order.__getitem__)
    return Move(x, lambda relevance: _only(relevance).permute(inverse))


@register_operation(*overloads("expand"))
def expand(operation: Operation) -> Family:
    """Copies along axes of size one: their relevance is summed."""
    x = operation.args[0]
    return Move(x, lambda relevance: _only(relevance).sum_to_size(x.shape))


@register_operation(*overloads("slice.Tensor", "select.int", "narrow"))
def take(operation: Operation) -> Family:
    """A part of a tensor; the rest gets nothing."""
    x = operation.args[0]

    def back(relevance: Sequence[Tensor | None]) -> Tensor:
        received = _only(relevance)
        whole = received.new_zeros(x.shape)
        operation.target(whole, *operation.args[1:], **operation.kwargs).copy_(received)
        return whole

    return Move(x, back)


@register_operation(
    *overloads("split.Tensor", "split_with_sizes", "unsafe_split.Tensor", "unbind.int", "chunk"),
    *overloads("unsafe_chunk", "unsafe_split_with_sizes", "tensor_split.sections"),
)
def split(operation: Operation) -> Family:
    """Several parts of a tensor; parts without relevance get nothing."""
    x, outputs = operation.args[0], operation.outputs
    unbinds = operation.target is aten.unbind.int
    axis = operation.argument(1 if unbinds else 2, "dim", 0)

    def back(relevance: Sequence[Tensor | None]) -> Tensor:
        like = _only(relevance)
        pieces = [
            like.new_zeros(value.shape) if received is None else received
            for value, received in zip(outputs, relevance, strict=True)
            if value is not None
        ]
        return torch.stack(pieces, axis) if unbinds else torch.cat(pieces, axis)

    return Move(x, back)


@register_operation(*overloads("cat"))
def concatenate(operation: Operation) -> Family:
    """cat(pieces, axis)."""
    pieces = [p for p in operation.args[0] if not (isinstance(p, Tensor) and p.shape == (0,))]
    return Concatenation(pieces, operation.argument(1, "dim", 0))


@register_operation(*overloads("constant_pad_nd"))
def pad(operation: Operation) -> Family:
    """Padding with a constant, which absorbs what it receives."""
    return Follow(operation, fills=(2,))


@register_operation(
    *overloads("stack", "roll", "flip", "repeat", "repeat_interleave.self_int", "unfold", "im2col"),
    *overloads("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle"),
    *overloads("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d"),
    *overloads(
        "replication_pad2d", "replication_pad3d", "upsample_nearest1d", "upsample_nearest2d"
    ),
    *overloads("upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d"),
    *overloads("_upsample_nearest_exact3d", "as_strided", "index_select", "gather", "tril", "triu"),
    *overloads(
        "slice_scatter", "select_scatter", "diagonal", "diagonal_scatter", "as_strided_scatter"
    ),
    *overloads("where.self", "rot90", "unsafe_index.Tensor", "_unsafe_index.Tensor", "copy"),
    *overloads("index.Tensor", "scatter.src", "max_unpool2d", "diag_embed", "block_diag", "take"),
    *overloads(
        "masked_select",
        "hstack",
        "vstack",
        "tile",
        "expand_copy",
        "slice_copy.Tensor",
        "select_copy.int",
    ),
)
def follow(operation: Operation) -> Family:
    """Every other move, by numbered elements."""
    return Follow(operation)


@register_operation(*overloads("masked_fill.Scalar", "scatter.value", "index_fill.int_Scalar"))
def fill(operation: Operation) -> Family:
    """Some elements replaced by a number."""
    return Follow(operation, fills=(len(operation.args) - 1,))


@register_operation(*overloads("masked_fill.Tensor", "where.ScalarOther", "where.ScalarSelf"))
def fill_by_tensor(operation: Operation) -> Family:
    """Some elements replaced by a scalar tensor, or by a number on one side."""
    numbers = tuple(i for i, a in enumerate(operation.args) if isinstance(a, (int, float)))
    return Follow(operation, fills=numbers)


@register_operation(*overloads("index_put", "_unsafe_index_put"))
def put(operation: Operation) -> Family:
    """Elements written at indices."""
    if operation.argument(3, "accumulate", False):
        return Refused("index_put with accumulate=True adds; write it as a sum")
    return Follow(operation)


@register_operation(*overloads("col2im"))
def fold(operation: Operation) -> Family:
    """Overlapping blocks are summed: a merge, not a move."""
    return Refused("col2im (fold) sums overlapping blocks and has no rule")


@register_operation(
    *overloads("fill.Scalar", "fill.Tensor", "zero", "new_zeros", "zeros_like", "ones_like")
)
def overwritten(operation: Operation) -> Family:
    """Nothing of the input is left."""
    return Refused("a value that was overwritten receives relevance")


def _is_circular(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
    return mode == "circular"


@keep_whole(functional.pad, when=_is_circular)
def circular_pad(operation: Operation) -> Family:
    """Circular padding copies elements."""
    return Follow(operation)
