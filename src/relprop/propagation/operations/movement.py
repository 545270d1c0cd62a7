"""Operations that move elements: relevance follows them; a copied element collects the sum of
its copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..recording import Operation, Value
from ..rules import Rule
from .family import Context, Family, OneInput, Refused, Share, Sharer, only
from .registry import overloads, register_operation

aten = torch.ops.aten
Back = Callable[[Sequence[Tensor | None]], Tensor]


@dataclass(frozen=True, eq=False)
class Move(OneInput):
    """A move of the elements of one tensor, with its inverse."""

    back: Back
    keeps_order: bool = False  # a view: the elements stand in the same row-major order
    kind: str = field(default="movement", kw_only=True)
    default: ClassVar[str] = "follow the elements"

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
            received = only(relevance)
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


def _view(x: Value) -> Family:
    return Move(x, lambda relevance: only(relevance).reshape(x.shape), keeps_order=True)


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
    return Move(x, lambda relevance: only(relevance).permute(inverse))


@register_operation(*overloads("expand"))
def expand(operation: Operation) -> Family:
    """Copies along axes of size one: their relevance is summed."""
    x = operation.args[0]
    return Move(x, lambda relevance: only(relevance).sum_to_size(x.shape))


@register_operation(*overloads("slice.Tensor", "select.int", "narrow"))
def take(operation: Operation) -> Family:
    """A part of a tensor; the rest gets nothing."""
    x = operation.args[0]

    def back(relevance: Sequence[Tensor | None]) -> Tensor:
        received = only(relevance)
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
        like = only(relevance)
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


@register_operation(*overloads("fill.Tensor"))
def fill_all(operation: Operation) -> Family:
    """A scalar tensor copied to every place."""
    value = operation.args[1]
    return Move(value, lambda relevance: only(relevance).sum().reshape(value.shape))
