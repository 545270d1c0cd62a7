"""Streams: relevance sent along the flows of a rule through a linear operation.

What does not depend on relevance is computed once, by `Stream`; sharing then costs one division
and one transposed map a flow. Flows through the same layer are stacked side by side and go through
one transposed map with twice the outputs. What belongs to the walk is overwritten, since fresh
memory costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..parts import ONES, Part, Stack
from .family import Share, Sharer, only

if TYPE_CHECKING:
    from ..flow import Flow, Inputs
    from .linear import Bound


def sharer(bound: Bound, flows: Sequence[Flow], *, spreads: bool) -> Sharer:
    """Share relevance along the flows; with `spreads`, the bias's share goes to the inputs too."""
    alone = [flow for flow in flows if flow.lone is not None]
    flows = [flow for flow in flows if flow.lone is None]
    streams = [Stream(bound, flow, flows, spreads=spreads) for flow in flows]
    axis = _stacking(bound, flows)
    room, places = None, None
    if axis is None:
        places = [bound.context.workspace.take(stream.full) for stream in streams[1:]]
    else:
        room = bound.room(streams[0].full)
        places = None if room is None else [*bound.halves(room)]
    _lend_scratch(streams, None if axis is None else places)

    def share(relevance: list[Tensor | None]) -> Share:
        received = only(relevance)
        relevance.clear()
        result = Share([None] * len(bound.linear.terms))
        for flow in alone:
            _send_alone(bound, flow, received, result)
        for stream in streams:
            stream.book_lost(received, result)
        quotients = _quotients(streams, received, places)
        del received
        for stream, quotient in zip(streams, quotients, strict=True):
            stream.book(quotient, result)
        if axis is not None:
            stacked = torch.cat(quotients, axis) if room is None else room
            for each in zip(*(stream.flow.products for stream in streams), strict=True):
                stack = Stack(parts=tuple(part for _, part in each))
                _send(bound, result, each[0][0], stacked, stack)
            return result
        for stream, quotient in zip(streams, quotients, strict=True):
            products = stream.flow.products
            for number, (inputs, part) in enumerate(products, start=1):
                last = number == len(products) and stream is streams[0]
                _send(bound, result, inputs, quotient, part, last=last)
        return result

    return share


class Stream:
    """A flow made ready: its stabilised denominator, and what it books where."""

    def __init__(self, bound: Bound, flow: Flow, flows: Sequence[Flow], *, spreads: bool) -> None:
        self.bound, self.flow = bound, flow
        self.base = next((i for i, other in enumerate(flows) if other is flow.base), None)
        self.spreads = spreads and flow.bias is not None
        shared = sum(other.denominator is flow.denominator for other in flows) > 1
        denominator = flow.denominator
        if denominator.shape != bound.value.shape:
            denominator = denominator.expand(bound.value.shape)
        workspace = bound.context.workspace
        zero = denominator == 0 if flow.guard else None
        self.empty = flow.empty if zero is None else zero
        self.stabiliser: Tensor | float | None = None
        full, own = denominator, None if shared else bound.owned(flow.denominator)
        if isinstance(flow.stabiliser, Tensor) or flow.stabiliser != 0:
            self.stabiliser = self._signed(denominator)
            own = workspace.take(denominator) if own is None else own
            full = own = torch.add(denominator, self.stabiliser, out=own)
        if zero is not None and workspace.reuses and own is not None:
            full = own.masked_fill_(zero, torch.inf)  # a quotient of 0 there
        elif zero is not None:
            full = torch.where(zero, torch.inf, full)
        self.full = full
        self.scratch: Tensor | None = None

    @property
    def is_signed(self) -> bool:
        """Whether the stabiliser differs from output to output."""
        return isinstance(self.stabiliser, Tensor) and self.stabiliser.shape == self.full.shape

    def _signed(self, denominator: Tensor) -> Tensor | float:
        """The stabiliser with the sign of the denominator."""
        flow = self.flow
        if flow.sign:
            return flow.stabiliser * flow.sign
        amount = flow.stabiliser
        if not isinstance(amount, Tensor):
            amount = torch.full((), amount, dtype=denominator.dtype, device=denominator.device)
        out = self.bound.context.workspace.take(denominator)
        return torch.copysign(amount, denominator, out=out)

    def book_lost(self, received: Tensor, result: Share) -> None:
        """What goes to an empty side has nowhere to go."""
        if self.empty is None:
            return
        context, value = self.bound.context, self.bound.value
        carried = received * self.flow.share if isinstance(self.flow.share, Tensor) else received
        lost = context.sum(torch.mul(carried, self.empty, out=self.scratch), value)
        factor = self.flow.share if self.flow.carries is None else self.flow.carries
        _book(result, "lost", lost if carried is not received else lost * factor)

    def book(self, quotient: Tensor, result: Share) -> None:
        """What the bias and the stabiliser absorb."""
        flow, context, value = self.flow, self.bound.context, self.bound.value
        if flow.bias is None and self.stabiliser is None:
            return
        sums = context.channel_sums(quotient, value)
        if flow.bias is not None and self.spreads:
            kept = self._distribute(quotient * flow.bias, result)
            _book(result, "bias", context.sum(kept, value))
        elif flow.bias is not None:
            _book(result, "bias", context.dot(quotient, sums, flow.bias, value))
        if self.stabiliser is not None:
            _book(result, "stabiliser", self._stabilised(quotient, sums))

    def _stabilised(self, quotient: Tensor, sums: Tensor | None) -> Tensor:
        context, value, factor = self.bound.context, self.bound.value, self.stabiliser
        assert factor is not None
        if self.is_signed:
            assert isinstance(factor, Tensor)
            return context.inner(quotient, factor, value)
        if sums is None or (isinstance(factor, Tensor) and factor.numel() != len(sums)):
            return context.sum(quotient * factor, value)
        return sums.sum(1) * (factor.flatten() if isinstance(factor, Tensor) else factor)

    def _distribute(self, absorbed: Tensor, result: Share) -> Tensor:
        """The bias's share evenly over the inputs that an output sees; what sees none keeps it."""
        bound = self.bound
        seen = bound.forward([(bound.ones, ONES)]).expand(absorbed.shape)
        each = torch.where(seen > 0, absorbed / seen.clamp(min=1), 0.0)
        for index, term in enumerate(bound.linear.terms):
            _add_message(result, index, _own(term.map.transpose(each, ONES)))
        return torch.where(seen > 0, 0.0, absorbed)


def _lend_scratch(streams: Sequence[Stream], places: Sequence[Tensor | None] | None) -> None:
    """Memory for what is booked as lost: where the first quotient will stand."""
    if all(stream.empty is None for stream in streams):
        return
    workspace, full = streams[0].bound.context.workspace, streams[0].full
    scratch = places[0] if places else workspace.take(full)
    for stream in streams:
        stream.scratch = scratch


def _quotients(
    streams: Sequence[Stream], received: Tensor, places: Sequence[Tensor | None] | None
) -> list[Tensor]:
    """R_j times the share of each flow over its denominator, in these places; where there is one
    less of them, the first flow overwrites R.
    """
    workspace = streams[0].bound.context.workspace
    places = [None] * len(streams) if places is None else list(places)
    if len(places) < len(streams):
        places = [workspace.own(received), *places]
    found: dict[int, Tensor] = {}
    bases = [i for i, stream in enumerate(streams) if stream.base is not None]
    for index in sorted(range(len(streams)), key=lambda i: (i in bases, -i)):
        stream = streams[index]
        above = received if stream.base is None else found[stream.base]
        found[index] = torch.div(above, stream.full, out=places[index])
    for index, stream in enumerate(streams):
        share = stream.flow.share
        if isinstance(share, Tensor) or share != 1:
            found[index] = torch.mul(found[index], share, out=workspace.own(found[index]))
    return [found[index] for index in range(len(streams))]


def _send(
    bound: Bound,
    result: Share,
    inputs: Inputs,
    quotient: Tensor,
    part: Part,
    *,
    last: bool = False,
) -> None:
    """Add x times the transposed map of the quotients to the message of each input; the `last`
    use of a quotient may overwrite it.
    """
    workspace = bound.context.workspace
    order = sorted(range(len(result.messages)), key=lambda i: result.messages[i] is None)
    for index in order:
        term = bound.linear.terms[index]
        if term.map.vanishes(part) or (inputs is not None and inputs[index] is None):
            continue
        message = term.map.transpose(quotient, part)
        x = None if inputs is None else inputs[index]
        present = result.messages[index]
        if x is None:
            message = _own(message)
        elif present is not None and workspace.reuses and present.shape == message.shape:
            present.addcmul_(message, x)
            continue
        else:
            fresh = term.map.fresh and not part.ones  # what ones make is repeated over channels
            own = fresh or (message is quotient and last and index == order[-1])
            out = workspace.own(message) if own and message.shape == x.shape else None
            message = torch.mul(message, x, out=out)
        _add_message(result, index, message, own=workspace.reuses)


def _send_alone(bound: Bound, flow: Flow, received: Tensor, result: Share) -> None:
    """What an input that alone can be negative receives where it is: the share itself, since
    z_ij / z_j is 1. Elsewhere the share is lost.
    """
    assert flow.lone is not None
    context, x = bound.context, bound.inputs[flow.lone]
    elsewhere = torch.ops.aten.threshold_backward.grad_input(
        received, x, -torch.finfo(x.dtype).tiny, grad_input=context.workspace.take(received)
    )
    result.messages[flow.lone] = torch.sub(received, elsewhere).mul_(flow.share)
    _book(result, "lost", context.sum(elsewhere, bound.value) * flow.share)


def _own(message: Tensor) -> Tensor:
    """A tensor that shares no memory, also not with itself."""
    return message.clone(memory_format=torch.contiguous_format)


def _stacking(bound: Bound, flows: Sequence[Flow]) -> int | None:
    """The axis along which the outputs of several flows are stacked, if they can be."""
    if len(flows) != 2:
        return None
    products = [flow.products for flow in flows]
    same = all(
        len(each) == len(products[0])
        and all(one[0] is other[0] for one, other in zip(each, products[0], strict=True))
        for each in products
    )
    return bound.stacks if same else None


def _add_message(result: Share, index: int, message: Tensor, *, own: bool = False) -> None:
    present = result.messages[index]
    if present is None:
        result.messages[index] = message
    else:
        result.messages[index] = present.add_(message) if own else present + message


def _book(result: Share, column: str, amount: Tensor) -> None:
    present = getattr(result, column)
    setattr(result, column, amount if present is None else present + amount)
