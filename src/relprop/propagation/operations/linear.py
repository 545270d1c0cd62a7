"""Operations that are linear in their inputs: one mechanism for layers, merges, pooling and
scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import InvalidRule
from ..recording import Value
from ..rules import Flow, Pass, Rule
from .family import Context, Family, Share, Sharer, only
from .maps import ONES, WEIGHT, LinearMap, Part


@dataclass(frozen=True, eq=False)
class Term:
    """One input of a linear operation and the map that it goes through."""

    value: Value
    map: LinearMap


@dataclass(frozen=True, eq=False)
class Linear(Family):
    """z = sum over terms of W x, plus a constant (None: zero), broadcastable to z."""

    terms: Sequence[Term]
    constant: Tensor | None = None
    kind: str = field(default="dense", kw_only=True)
    flattens: ClassVar[bool] = True

    def takes(self, rule: Rule) -> bool:
        return isinstance(rule, Pass) or type(rule).flows is not Rule.flows

    @property
    def sources(self) -> Sequence[Value]:
        return [term.value for term in self.terms]

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        assert rule is not None
        bound = Bound(self, context)
        if isinstance(rule, Pass):
            return bound.passing()
        flows = rule.flows(bound)
        return bound.sharer(flows, rule)


class Bound:
    """A linear operation with its data at hand: what rules are written in."""

    def __init__(self, linear: Linear, context: Context) -> None:
        self.linear, self.context = linear, context
        self.value = context.operation.output
        self.inputs = [context.tensor(term.value) for term in linear.terms]
        self._constant = None if linear.constant is None else context.constant(linear.constant)

    @property
    def ones(self) -> list[Tensor]:
        """Ones in the shape of each input."""
        return [torch.ones_like(x) for x in self.inputs]

    @property
    def positive(self) -> list[Tensor]:
        """x+ for each input."""
        return [
            x if self.context.is_nonnegative(term.value) else x.clamp(min=0)
            for term, x in zip(self.linear.terms, self.inputs, strict=True)
        ]

    @property
    def negative(self) -> list[Tensor] | None:
        """x- for each input; None where no input can be negative."""
        if all(self.context.is_nonnegative(term.value) for term in self.linear.terms):
            return None
        return [x.clamp(max=0) for x in self.inputs]

    def bias(self, part: Part) -> Tensor | None:
        """part(b), broadcastable to the output."""
        return None if self._constant is None else part(self._constant)

    def output(self, bias: str) -> tuple[Tensor, Tensor | None]:
        """z and the bias in it; computed anew where the recorded one has half precision."""
        if bias == "ignore" and self._constant is not None:
            return self.forward([(self.inputs, WEIGHT)]), None  # z - b would leave rounding noise
        recorded = self.context.recording.tensor(self.value)
        if recorded.dtype == self.context.dtype:
            return recorded, self._constant
        return self.forward([(self.inputs, WEIGHT)], self._constant), self._constant

    def rms(self, tensor: Tensor) -> Tensor:
        """The root mean square over the layer, per sample."""
        return self.context.rms(tensor.expand(self.value.shape), self.value)

    def forward(
        self, products: Sequence[tuple[Sequence[Tensor], Part]], bias: Tensor | None = None
    ) -> Tensor:
        """The sum over inputs of x part(w), over all products, plus the bias."""
        total = bias
        for inputs, part in products:
            for term, x in zip(self.linear.terms, inputs, strict=True):
                z = term.map.forward(x, part)
                total = z if total is None else total + z
        assert total is not None
        return total

    def bounds(self, low: Any, high: Any) -> tuple[list[Tensor], list[Tensor]]:
        """The lowest and highest inputs, shaped like the inputs."""
        if low is None:
            preprocessing = self.context.recording.preprocessing
            if not hasattr(preprocessing, "low") or not hasattr(preprocessing, "high"):
                raise InvalidRule(
                    "Box: the bounds of the input are unknown; give them, Box(low, high), as the "
                    "preprocessed values of black and white per channel ((0 - mean)/std and "
                    "(1 - mean)/std), or set model.preprocessing with low and high"
                )
            low, high = preprocessing.low, preprocessing.high
        return [_like(low, x) for x in self.inputs], [_like(high, x) for x in self.inputs]

    def passing(self) -> Sharer:
        """R_i = R_j, where one input has the shape of the output."""
        term = self.linear.terms[0]
        if len(self.linear.terms) != 1 or term.value.shape != self.value.shape:
            raise InvalidRule(
                f"Pass: {self.context.operation.name} does not keep the shape of a single input "
                f"({tuple(term.value.shape)} to {tuple(self.value.shape)}); give it another rule"
            )
        return lambda relevance: Share([relevance[0]])

    def sharer(self, flows: Sequence[Flow], rule: Rule) -> Sharer:
        """Share relevance along the flows; what each denominator needs is computed here, once."""
        streams = [_Stream(self, flow, rule) for flow in flows]

        def share(relevance: Sequence[Tensor | None]) -> Share:
            received = only(relevance)
            result = Share([None] * len(self.linear.terms))
            for stream in streams:
                stream.send(received, result)
            return result

        return share


class _Stream:
    """A flow made ready: its stabilised denominator, and what it books where."""

    def __init__(self, bound: Bound, flow: Flow, rule: Rule) -> None:
        self.bound, self.flow = bound, flow
        denominator = flow.denominator.expand(bound.value.shape)
        self.full = denominator
        self.stabiliser: Tensor | None = None
        if isinstance(flow.stabiliser, Tensor) or flow.stabiliser != 0:
            sign = torch.where(denominator >= 0, 1.0, -1.0).to(denominator.dtype)
            self.stabiliser = sign * flow.stabiliser
            self.full = denominator + self.stabiliser
        self.empty: Tensor | None = None
        if flow.guard:
            self.empty = denominator == 0
        elif isinstance(flow.stabiliser, Tensor):
            self.empty = self.full == 0  # relative to a layer that is zero throughout
        if self.empty is not None:
            self.full = torch.where(self.empty, torch.inf, self.full)  # a quotient of 0 there
        self.spreads = rule.bias == "distribute" and flow.bias is not None

    def send(self, received: Tensor, result: Share) -> None:
        context, value = self.bound.context, self.bound.value
        carried = received if self._carries_all else received * self.flow.share
        quotient = carried / self.full
        for inputs, part in self.flow.products:
            for index, (term, x) in enumerate(zip(self.bound.linear.terms, inputs, strict=True)):
                _add_message(result, index, x * term.map.transpose(quotient, part))
        if self.flow.bias is not None and self.spreads:
            kept = self._distribute(quotient * self.flow.bias, result)
            _book(result, "bias", context.sum(kept, value))
        elif self.flow.bias is not None:
            _book(result, "bias", context.dot(quotient, self.flow.bias, value))
        if self.stabiliser is not None:
            _book(result, "stabiliser", context.sum(quotient * self.stabiliser, value))
        if self.empty is not None:
            _book(result, "lost", context.sum(torch.where(self.empty, carried, 0.0), value))

    @property
    def _carries_all(self) -> bool:
        return not isinstance(self.flow.share, Tensor) and self.flow.share == 1

    def _distribute(self, absorbed: Tensor, result: Share) -> Tensor:
        """The bias's share evenly over the inputs that an output sees; what sees none keeps it."""
        seen = self.bound.forward([(self.bound.ones, ONES)]).expand(absorbed.shape)
        each = torch.where(seen > 0, absorbed / seen.clamp(min=1), 0.0)
        for index, term in enumerate(self.bound.linear.terms):
            _add_message(result, index, term.map.transpose(each, ONES))
        return torch.where(seen > 0, 0.0, absorbed)


def _add_message(result: Share, index: int, message: Tensor) -> None:
    present = result.messages[index]
    result.messages[index] = message if present is None else present + message


def _book(result: Share, column: str, amount: Tensor) -> None:
    present = getattr(result, column)
    setattr(result, column, amount if present is None else present + amount)


def _like(bound: Any, x: Tensor) -> Tensor:
    """A number, or one value per channel (axis 1), in the shape of x."""
    tensor = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
    if tensor.ndim == 1 and tensor.numel() > 1 and x.ndim > 1:
        if x.shape[1] != tensor.numel():
            raise InvalidRule(
                f"Box: {tensor.numel()} bounds for an input with {x.shape[1]} channels"
            )
        tensor = tensor.reshape(-1, *[1] * (x.ndim - 2))
    try:
        return tensor.expand(x.shape)
    except RuntimeError:
        raise InvalidRule(
            f"Box: bounds of shape {tuple(tensor.shape)} do not fit an input of shape "
            f"{tuple(x.shape)}"
        ) from None
