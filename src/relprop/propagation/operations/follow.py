"""Every other move of elements: relevance follows numbers sent through the operation itself."""

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
        0.
        """

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
        device = context.device
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


def _is_circular(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
    return mode == "circular"


@keep_whole(functional.pad, when=_is_circular)
def circular_pad(operation: Operation) -> Family:
    """Circular padding copies elements."""
    return Follow(operation)
