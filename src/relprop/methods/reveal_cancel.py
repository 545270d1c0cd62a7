"""DeepLIFT's reveal-cancel rule: what raises and what lowers a neuron are kept apart.

Every difference from the reference is a positive and a negative part. A layer sorts what its inputs
do to an output by sign; an activation shares its own difference between both parts as their Shapley
values (Shrikumar et al. 2017). What cancels inside a neuron is thus seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedOperation
from ..propagation.operations.choice import WindowPool
from ..propagation.operations.elementwise import Activation
from ..propagation.operations.fixed_maps import Scale
from ..propagation.operations.follow import Follow
from ..propagation.operations.linear import Linear
from ..propagation.operations.movement import Concatenation, Move
from ..propagation.parts import NEGATIVE, POSITIVE
from ..propagation.recording import Value, is_continuous, leaves, replace_leaves
from .pair import Pair, Step, pull_back, rerun
from .rescale import TINY, is_max_pool

COVERED = (
    "dense layers, convolutions, batch norm, sums, element-wise activations, pooling, and what "
    "moves elements"
)


@dataclass(frozen=True, eq=False)
class Parts:
    """Two tensors shaped like a value: for its positive and for its negative difference."""

    positive: Tensor
    negative: Tensor

    def each(self, function: Callable[[Tensor], Tensor]) -> Parts:
        """Both changed alike."""
        return Parts(function(self.positive), function(self.negative))

    def scaled(self, factor: Tensor) -> Parts:
        """Times a factor; where it is negative, the parts change places."""
        positive, negative = self.positive * factor, self.negative * factor
        up = factor > 0
        return Parts(torch.where(up, positive, negative), torch.where(up, negative, positive))

    def __add__(self, other: Parts) -> Parts:
        return Parts(self.positive + other.positive, self.negative + other.negative)


def _by_sign(tensor: Tensor) -> Parts:
    return Parts(tensor.clamp(min=0), tensor.clamp(max=0))


class RevealCancel:
    """The parts of every difference, found on the way to the output, and multipliers for both."""

    def __init__(self, pair: Pair):
        self.pair = pair
        self.parts: dict[int, Parts] = {}
        for given in pair.x.input_values:
            if given is not None and is_continuous(given.dtype):
                self.parts[given.index] = _by_sign(pair.change(given))
        for step in pair.steps:
            for output, parts in zip(step.x.outputs, self._forth(step), strict=False):
                if output is not None:
                    self.parts[output.index] = parts

    def contributions(self, weights: Tensor) -> list[Tensor | None]:
        """For each input: multipliers times differences."""
        pair = self.pair
        start = weights.reshape(pair.end.shape)
        waiting = {pair.end.index: Parts(start, start)}
        for step in reversed(pair.steps):
            received = [None if v is None else waiting.get(v.index) for v in step.x.outputs]
            if all(part is None for part in received):
                continue
            for value, multipliers in self._back(step, received):
                present = waiting.get(value.index)
                waiting[value.index] = multipliers if present is None else present + multipliers
        found: list[Tensor | None] = []
        for given in pair.x.input_values:
            if given is None or given.index not in waiting:
                found.append(None)
                continue
            parts, by = self.parts[given.index], waiting[given.index]
            found.append(by.positive * parts.positive + by.negative * parts.negative)
        return found

    def _forth(self, step: Step) -> Sequence[Parts]:
        """The parts of the differences of an operation's outputs."""
        family = step.family
        if isinstance(family, Linear):
            return [self._sorted(family)]
        if isinstance(family, (Move, Concatenation, Follow)):
            return self._moved(step)
        if isinstance(family, Activation):
            return [self._shapley(step, family)]
        if isinstance(family, WindowPool) and is_max_pool(step):
            index, ratio = self._chosen(step, family)
            axes = len(family.axes)
            return [
                self.parts[family.value.index].each(
                    lambda t: (t.flatten(-axes).gather(-1, index) * ratio).reshape(
                        step.x.output.shape
                    )
                )
            ]
        raise UnsupportedOperation(
            f"reveal-cancel is defined for {COVERED}, not for {step.name}; rule='rescale' is"
        )

    def _back(self, step: Step, received: Sequence[Parts | None]) -> list[tuple[Value, Parts]]:
        """What reaches the inputs of an operation, from multipliers of its outputs."""
        family = step.family
        if isinstance(family, (Move, Concatenation, Follow)):
            return self._moved_back(step, received)
        given = received[0]
        assert given is not None
        if isinstance(family, Linear):
            return self._unsorted(family, given)
        if isinstance(family, Activation):
            return [(family.value, self._quotients(step, family, given))]
        assert isinstance(family, WindowPool)
        return [(family.value, self._to_chosen(step, family, given))]

    def _sorted(self, linear: Linear) -> Parts:
        """What inputs add to an output and what they take from it; a scale sorts nothing anew."""
        if _is_scale(linear):
            term = linear.terms[0]
            parts = self.parts[term.value.index]
            return parts.scaled(_factor(linear, parts.positive))
        added: list[Tensor] = []
        taken: list[Tensor] = []
        for term in linear.terms:
            change, forth = _by_sign(self.pair.change(term.value)), term.map.forward
            added += [forth(change.positive, POSITIVE), forth(change.negative, NEGATIVE)]
            taken += [forth(change.positive, NEGATIVE), forth(change.negative, POSITIVE)]
        return Parts(_total(added), _total(taken))

    def _unsorted(self, linear: Linear, given: Parts) -> list[tuple[Value, Parts]]:
        """w times the multiplier of the part that the input's difference went to; of both halfway
        where there is no difference.
        """
        if _is_scale(linear):
            term = linear.terms[0]
            scaled = given.scaled(_factor(linear, given.positive))
            return [(term.value, scaled.each(lambda t: t.sum_to_size(term.value.shape)))]
        found = []
        for term in linear.terms:
            back = term.map.transpose
            rising = back(given.positive, POSITIVE) + back(given.negative, NEGATIVE)
            falling = back(given.positive, NEGATIVE) + back(given.negative, POSITIVE)
            change = self.pair.change(term.value)
            signed = torch.where(change > 0, rising, falling)
            both = torch.where(change == 0, (rising + falling) / 2, signed)
            found.append((term.value, Parts(both, both)))
        return found

    def _shapley(self, step: Step, family: Activation) -> Parts:
        """What each part does to f, averaged over which comes first."""
        value, parts = family.value, self.parts[family.value.index]
        _, reference = self.pair.values(value)
        end, start = self.pair.values(step.x.output)
        up = rerun(step.x, {value.index: reference + parts.positive})[0]
        down = rerun(step.x, {value.index: reference + parts.negative})[0]
        return Parts((up - start + end - down) / 2, (down - start + end - up) / 2)

    def _quotients(self, step: Step, family: Activation, given: Parts) -> Parts:
        """Part of the output over part of the input; the gradient where that is tiny."""
        value, output = family.value, step.x.output
        inside, outside = self.parts[value.index], self.parts[output.index]
        x, reference = self.pair.values(value)
        least = TINY * torch.maximum(x.abs(), reference.abs())
        ends = self.pair.between(step, 1.0)

        def quotient(multiplier: Tensor, before: Tensor, after: Tensor) -> Tensor:
            tiny = (before == 0) | (before.abs() < least)
            found = multiplier * after / torch.where(tiny, torch.ones_like(before), before)
            received = [multiplier, *[None] * (len(step.x.outputs) - 1)]
            gradients = pull_back(step.x, step.family, ends, received)
            return torch.where(tiny, gradients[0][1], found) if gradients else found

        return Parts(
            quotient(given.positive, inside.positive, outside.positive),
            quotient(given.negative, inside.negative, outside.negative),
        )

    def _chosen(self, step: Step, family: WindowPool) -> tuple[Tensor, Tensor]:
        """Whose difference each maximum follows, and which share of it: the winner at x where the
        maximum rises, the winner at the reference where it falls.
        """
        axes, value = len(family.axes), family.value
        change = self.pair.change(step.x.output)
        winners = [rerun(step.x, {value.index: t})[1] for t in self.pair.values(value)]
        index = torch.where(change >= 0, winners[0], winners[1]).flatten(-axes)
        own = self.pair.change(value).flatten(-axes).gather(-1, index)
        change = change.flatten(-axes)
        same = own == 0  # then the maximum is the same, too
        ratio = torch.where(same, torch.ones_like(own), change / torch.where(same, 1.0, own))
        return index, ratio

    def _to_chosen(self, step: Step, family: WindowPool, given: Parts) -> Parts:
        index, ratio = self._chosen(step, family)
        axes, shape = len(family.axes), family.value.shape

        def back(multiplier: Tensor) -> Tensor:
            empty = multiplier.new_zeros(shape).flatten(-axes)
            return empty.scatter_add(-1, index, multiplier.flatten(-axes) * ratio).reshape(shape)

        return given.each(back)

    def _moved(self, step: Step) -> list[Parts]:
        """Both parts moved as the elements are; constants among them do not differ."""
        sources = step.family.sources
        positive = _moved(step, {v.index: self.parts[v.index].positive for v in sources})
        negative = _moved(step, {v.index: self.parts[v.index].negative for v in sources})
        return [Parts(*both) for both in zip(positive, negative, strict=True)]

    def _moved_back(
        self, step: Step, received: Sequence[Parts | None]
    ) -> list[tuple[Value, Parts]]:
        ends = self.pair.between(step, 1.0)
        positive = pull_back(
            step.x, step.family, ends, [None if p is None else p.positive for p in received]
        )
        negative = pull_back(
            step.x, step.family, ends, [None if p is None else p.negative for p in received]
        )
        pairs = zip(positive, negative, strict=True)
        return [(value, Parts(up, down)) for (value, up), (_, down) in pairs]


def _total(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _is_scale(linear: Linear) -> bool:
    return len(linear.terms) == 1 and isinstance(linear.terms[0].map, Scale)


def _factor(linear: Linear, like: Tensor) -> Tensor:
    scale = linear.terms[0].map
    assert isinstance(scale, Scale)
    return scale.factor.to(like)


def _moved(step: Step, tensors: dict[int, Tensor]) -> list[Tensor]:
    """The move of an operation on other tensors; constants and fills are zero."""

    def stand_in(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return tensors[leaf.index]
        is_constant = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return torch.zeros_like(leaf) if is_constant else leaf

    args = list(replace_leaves(step.x.args, stand_in))
    for position in step.family.fills if isinstance(step.family, Follow) else ():
        if position < len(args) and not isinstance(args[position], Tensor):
            args[position] = 0
    kwargs = {k: leaf for k, leaf in step.x.kwargs.items() if k != "value"}
    return leaves((step.x.target(*args, **replace_leaves(kwargs, stand_in)),))
