"""DeepLIFT's rescale rule: multipliers are differences of outputs over differences of inputs.

A multiplier is the gradient averaged on the way from the reference to the input. For a linear
operation that is its weights, for a function of one variable the quotient of the differences
(Shrikumar et al. 2017), for a product the other factor halfway. Layer norm and its relatives are
taken apart into such pieces. Every other operation (a softmax inside the network) is averaged
numerically, so that contributions stay complete there too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import UnsupportedOperation
from ..propagation.operations.choice import Maximum, WindowPool
from ..propagation.operations.elementwise import Activation
from ..propagation.operations.embedding import Embedding
from ..propagation.operations.family import Refused, only
from ..propagation.operations.follow import Follow
from ..propagation.operations.linear import Linear
from ..propagation.operations.movement import Concatenation, Move
from ..propagation.operations.normalisation import Spread, Standardisation
from ..propagation.operations.product import Product
from ..propagation.recording import Value
from .pair import Pair, Received, Step, pull_back

TINY = 1e-6  # of the values: a smaller difference of inputs has no accurate quotient
NODES = 16  # where an average gradient is taken


class Rescale:
    """The multipliers of every value of a pair of runs, walked back from the output."""

    def __init__(self, pair: Pair):
        self.pair = pair

    def contributions(self, weights: Tensor) -> list[Tensor | None]:
        """For each input: multiplier times difference, `[N, T]` for token ids; None for others."""
        pair = self.pair
        waiting = {pair.end.index: weights.reshape(pair.end.shape)}
        tokens: dict[int, Tensor] = {}
        for step in reversed(pair.steps):
            received = [None if v is None else waiting.get(v.index) for v in step.x.outputs]
            if all(part is None for part in received):
                continue
            if isinstance(step.family, Embedding):
                value = step.family.value
                found = (only(received) * pair.change(step.x.output)).sum(-1)
                tokens[value.index] = (
                    tokens[value.index] + found if value.index in tokens else found
                )
                continue
            for value, multiplier in self._back(step, received):
                present = waiting.get(value.index)
                waiting[value.index] = multiplier if present is None else present + multiplier
        return [self._at_input(value, waiting, tokens) for value in pair.x.input_values]

    def _at_input(
        self, value: Value | None, waiting: dict[int, Tensor], tokens: dict[int, Tensor]
    ) -> Tensor | None:
        if value is None or value.index not in waiting:
            return None if value is None else tokens.get(value.index)
        return waiting[value.index] * self.pair.change(value)

    def _back(self, step: Step, received: Received) -> list[tuple[Value, Tensor]]:
        family = step.family
        if isinstance(family, Refused) and not isinstance(family, Spread):
            raise UnsupportedOperation(f"DeepLIFT cannot follow {step.name}: {family.reason}")
        if isinstance(family, (Linear, Move, Concatenation, Follow)):
            return pull_back(step.x, step.family, self.pair.between(step, 1.0), received)
        if isinstance(family, Activation):
            return self._quotient(step, received)
        if isinstance(family, Maximum) or is_max_pool(step):
            return self._winners(step, received)
        if isinstance(family, Standardisation):
            return self._standardised(step.x.output, family, received)
        return self._average(step, received, 1 if isinstance(family, Product) else NODES)

    def _quotient(self, step: Step, received: Received) -> list[tuple[Value, Tensor]]:
        """Difference of outputs over difference of inputs."""
        value = step.family.sources[0]
        through = only(received) * self.pair.change(step.x.output)
        return [(value, self._divided(step, received, value, through))]

    def _winners(self, step: Step, received: Received) -> list[tuple[Value, Tensor]]:
        """A rise of the maximum is due to who wins at x, a fall to who wins at the reference.

        Their own differences are at least as large, so multipliers stay within [0, 1].
        """
        change = self.pair.change(step.x.output)
        ends: tuple[float, float] = (1.0, 0.0)
        if "min" in step.x.name:
            ends = (0.0, 1.0)
        through: dict[int, Tensor] = {}
        for end, moved in zip(ends, (change.clamp(min=0), change.clamp(max=0)), strict=True):
            shares = [None if part is None else part * moved for part in received]
            for value, share in pull_back(
                step.x, step.family, self.pair.between(step, end), shares
            ):
                present = through.get(value.index)
                through[value.index] = share if present is None else present + share
        sources = {value.index: value for value in step.family.sources}
        return [
            (value, self._divided(step, received, value, through[index]))
            for index, value in sources.items()
        ]

    def _divided(self, step: Step, received: Received, value: Value, through: Tensor) -> Tensor:
        """What goes through over the difference of an input; the gradient where that is tiny."""
        x, reference = self.pair.values(value)
        change = self.pair.change(value)
        scale = torch.maximum(x.abs(), reference.abs())
        tiny = (change == 0) | (change.abs() < TINY * scale)
        found = through / torch.where(tiny, torch.ones_like(change), change)
        if not bool(tiny.any()):
            return found
        for source, gradient in pull_back(
            step.x, step.family, self.pair.between(step, 1.0), received
        ):
            if source.index == value.index:
                return torch.where(tiny, gradient, found)
        return torch.where(tiny, torch.zeros_like(found), found)

    def _standardised(
        self, output: Value, family: Standardisation, received: Received
    ) -> list[tuple[Value, Tensor]]:
        """Layer norm as a product: centred input c times s = (mean c^2 + eps)^-1/2."""
        part = only(received)
        if family.scale is not None:
            part = part * family.scale
        part, axes = part.reshape(family.grouped), family.axes
        pairs = [value.reshape(family.grouped) for value in self.pair.values(family.value)]
        if family.centres:
            pairs = [value - value.mean(axes, keepdim=True) for value in pairs]
        spreads = [c.square().mean(axes, keepdim=True) + family.eps for c in pairs]
        scales = [spread.rsqrt() for spread in spreads]
        between = (pairs[0] + pairs[1]) / 2
        # (s - s') / (v - v') for s = v^-1/2, without the difference in the denominator
        slope = -scales[0].square() * scales[1].square() / (scales[0] + scales[1])
        to_scale = (part * between).sum(axes, keepdim=True) * slope
        count = part[0].numel() // to_scale[0].numel()
        found = part * (scales[0] + scales[1]) / 2 + to_scale * between * (2 / count)
        if family.centres:
            found = found - found.mean(axes, keepdim=True)
        return [(family.value, found.reshape(output.shape))]

    def _average(self, step: Step, received: Received, nodes: int) -> list[tuple[Value, Tensor]]:
        """The gradient averaged between both runs, by Gauss-Legendre quadrature."""
        places, shares = np.polynomial.legendre.leggauss(nodes)
        sources: dict[int, Value] = {}
        totals: dict[int, Tensor] = {}
        for place, share in zip(places, shares, strict=True):
            inputs = self.pair.between(step, float(place + 1) / 2)
            for value, gradient in pull_back(step.x, step.family, inputs, received):
                part = gradient * (float(share) / 2)
                present = totals.get(value.index)
                totals[value.index] = part if present is None else present + part
                sources[value.index] = value
        return [(value, totals[index]) for index, value in sources.items()]


def is_max_pool(step: Step) -> bool:
    """Whether an operation is a max pooling over windows."""
    return isinstance(step.family, WindowPool) and "max_pool" in step.x.name
