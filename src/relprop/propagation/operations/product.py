"""Products and quotients of dependent tensors, gates, and the softmax inside a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..recording import Operation, Value
from ..rules import Constant, Epsilon, Rule
from .family import Context, Family, OneInput, Refused, Share, Sharer, only
from .fixed_maps import Scale
from .linear import Linear, Term
from .maps import Dense, LinearMap
from .registry import keep_whole, overloads, register_operation
from .weights import Weight


@dataclass(frozen=True, eq=False)
class Product(Family):
    """z = a b, both dependent: half of R to each factor, each by Epsilon (AttnLRP)."""

    first: Value
    second: Value
    as_map: Callable[[Tensor, Value, bool], LinearMap]  # the map of one factor, given the other
    is_matrix: bool = False
    kind: str = field(default="product", kw_only=True)
    accepts: ClassVar[tuple[str, ...]] = ("Epsilon",)
    default: ClassVar[str] = "half to each factor, by Epsilon(1e-06)"

    @property
    def sources(self) -> Sequence[Value]:
        return [self.first, self.second]

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        first, second = context.tensor(self.first), context.tensor(self.second)
        halves = [
            Linear([Term(self.first, self.as_map(second, self.first, True))]),
            Linear([Term(self.second, self.as_map(first, self.second, False))]),
        ]
        sharers = [half.prepare(rule or Epsilon(), context) for half in halves]

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            one, two = (sharer([received / 2]) for sharer in sharers)
            return Share(
                [one.messages[0], two.messages[0]],
                stabiliser=_sum(one.stabiliser, two.stabiliser),
                lost=_sum(one.lost, two.lost),
            )

        return share


@dataclass(frozen=True, eq=False)
class Quotient(OneInput):
    """All relevance to one factor: the numerator of a quotient, or what a gate lets through."""

    kind: str = field(default="product", kw_only=True)
    default: ClassVar[str] = "all to the signal"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            return Share([received.sum_to_size(self.value.shape)])

        return share


@dataclass(frozen=True, eq=False)
class GatedLinearUnit(OneInput):
    """glu: a sigmoid(b) of the two halves of x; everything to a."""

    axis: int
    kind: str = field(default="product", kw_only=True)
    default: ClassVar[str] = "all to the signal"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            return Share([torch.cat([received, torch.zeros_like(received)], self.axis)])

        return share


@dataclass(frozen=True, eq=False)
class Softmax(OneInput):
    """R_i = x_i (R_i - p_i sum_k R_k), the first-order terms of a softmax (AttnLRP).

    What the expansion leaves at its root, R_k (1 - x_k + sum_i p_i x_i), is booked as bias.
    """

    axes: tuple[int]
    kind: str = field(default="softmax", kw_only=True)
    accepts: ClassVar[tuple[str, ...]] = ("Constant",)
    default: ClassVar[str] = "first-order terms"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        x = context.tensor(self.value)
        p = context.tensor(context.operation.output)
        x = torch.where(p > 0, x, 0.0)  # a masked score is -inf and takes no part
        expected = (p * x).sum(self.axes, keepdim=True)

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            if isinstance(rule, Constant):
                return Share([None], bias=context.sum(received, self.value))
            message = x * (received - p * received.sum(self.axes, keepdim=True))
            root = received * (1 - x + expected)
            return Share([message], bias=context.sum(root, self.value))

        return share


@register_operation(*overloads("_softmax", "_safe_softmax"))
def softmax(operation: Operation) -> Family:
    """softmax(x, axis)."""
    x, axis = operation.args[:2]
    return Softmax(x, (axis % x.ndim,))


@register_operation(*overloads("_log_softmax"))
def log_softmax(operation: Operation) -> Family:
    """Left out where it ends the model; inside it has no rule."""
    return Refused(
        "log_softmax inside the network has no rule (at the end of the model it is left out)"
    )


@register_operation(*overloads("glu"))
def gated_linear_unit(operation: Operation) -> Family:
    """glu(x, axis)."""
    return GatedLinearUnit(operation.args[0], operation.argument(1, "dim", -1))


def product_of(first: Value, second: Value) -> Family:
    """Elementwise, broadcast."""
    return Product(first, second, lambda other, value, is_first: Scale(other, value.shape))


def matrix_product(first: Value, second: Value) -> Family:
    """A matrix product of two dependent tensors."""
    return Product(
        first,
        second,
        lambda other, value, is_first: Dense(Weight(other, -1), left=not is_first),
        True,
    )


ATTENTION = "attention has no rule yet; it comes with the rules for transformers"
RECURRENT = "recurrent layers have no rule yet; they come with the rules for LSTM and GRU"


@keep_whole(
    torch.nn.functional.scaled_dot_product_attention,
    torch.nn.functional.multi_head_attention_forward,
    torch._native_multi_head_attention,
    torch._transformer_encoder_layer_fwd,
)
def attention(operation: Operation) -> Family:
    """Refused by name."""
    return Refused(ATTENTION)


@keep_whole(
    *(getattr(torch, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
    *(getattr(torch, name) for name in ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")),
)
def recurrent(operation: Operation) -> Family:
    """Refused by name."""
    return Refused(RECURRENT)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
