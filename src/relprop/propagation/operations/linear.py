"""Operations that are linear in their inputs: one mechanism for layers, merges, pooling and
scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import InvalidRule
from ..doubts import is_away
from ..flow import ROUNDED, SMALL, TINY, Products
from ..parts import WEIGHT, Part
from ..recording import Value
from ..rules import Pass, Rule
from .family import Context, Family, Share, Sharer
from .maps import LinearMap
from .streams import sharer


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
        for term in self.terms:  # the model itself may have changed it after the call began
            if term.map.held is not None and term.map.held.has_moved:
                term.map.held.refresh()
        bound = Bound(self, context)
        if isinstance(rule, Pass):
            return bound.passing()
        return sharer(bound, rule.flows(bound), spreads=rule.bias == "distribute")


class Bound:
    """A linear operation with its data at hand: what rules are written in."""

    def __init__(self, linear: Linear, context: Context) -> None:
        self.linear, self.context = linear, context
        self.value = context.operation.output
        self._constant = None if linear.constant is None else context.constant(linear.constant)
        self._totals: list[Tensor] = []
        self._both: Tensor | None = None

    @cached_property
    def inputs(self) -> list[Tensor]:
        """x, one tensor for each input."""
        return [self.context.tensor(term.value) for term in self.linear.terms]

    @property
    def ones(self) -> list[Tensor]:
        """Ones in the shape of each input."""
        one = torch.ones((), dtype=self.context.dtype, device=self.context.device)
        return [one.expand(term.value.shape) for term in self.linear.terms]

    @cached_property
    def signed(self) -> list[bool]:
        """Whether each input may be negative."""
        return [not self.context.is_nonnegative(term.value) for term in self.linear.terms]

    @cached_property
    def positive(self) -> list[Tensor]:
        """x+ for each input, no less than a tiny number where that `lifts` their sum."""
        least = TINY if self.lifts else 0.0
        return [
            self._clamped(x, min=least) if has else x
            for has, x in zip(self.signed, self.inputs, strict=True)
        ]

    @cached_property
    def negative(self) -> list[Tensor | None]:
        """x- for each input, None for those that cannot be negative."""
        return [
            self._clamped(x, max=0.0) if has else None
            for has, x in zip(self.signed, self.inputs, strict=True)
        ]

    @cached_property
    def lone(self) -> int | None:
        """The only input of a plain sum that may be negative, if there is one."""
        plain = self._constant is None and all(
            term.map.is_identity and term.value.shape == self.value.shape
            for term in self.linear.terms
        )
        return self.signed.index(True) if plain and sum(self.signed) == 1 else None

    @property
    def lifts(self) -> bool:
        """Whether x+ is kept from zero, where no relevance arrives at outputs without any."""
        return self.lone is not None and self.silent and self.is_single

    def vanishes(self, part: Part) -> bool:
        """Whether part(w) is known to be zero for every input."""
        return all(term.map.vanishes(part) for term in self.linear.terms)

    def _clamped(self, x: Tensor, **limits: float) -> Tensor:
        return torch.clamp(x, **limits, out=self.context.workspace.take(x))

    @property
    def silent(self) -> bool:
        """Whether outputs that are not positive have no relevance: a ReLU alone reads them."""
        return self.context.silent

    def bias(self, part: Part) -> Tensor | None:
        """part(b), broadcastable to the output."""
        return None if self._constant is None else part(self._constant)

    def tiny_bias(self, part: Part) -> Tensor:
        """part(b) and a tiny number, so that what is empty is not zero."""
        bias = self.bias(part)
        if bias is not None:
            return bias + TINY
        axis = 1 if self.linear.kind == "convolution" else -1
        shape = [1] * self.value.ndim
        shape[axis] = self.value.shape[axis]
        return torch.full(shape, TINY, dtype=self.context.dtype, device=self.context.device)

    def output(self, bias: str) -> tuple[Tensor, Tensor | None]:
        """z and the bias in it; computed anew where the recorded one has half precision.

        Where the operation is `silent`, z may be 0 wherever it is not positive.
        """
        if bias == "ignore" and self._constant is not None:
            return self.forward([(self.inputs, WEIGHT)]), None  # z - b would leave rounding noise
        recorded = self.context.recording.tensor(self.context.output)
        if recorded.dtype == self.context.dtype:
            return recorded, self._constant
        return self.forward([(self.inputs, WEIGHT)], self._constant), self._constant

    def rms(self, tensor: Tensor) -> Tensor:
        """The root mean square over the layer, per sample."""
        return self.context.rms(tensor.expand(self.value.shape), self.value)

    def forward(self, products: Products, bias: Tensor | None = None) -> Tensor:
        """The sum over inputs of x part(w), over all products, plus the bias."""
        total, fresh = None, False
        owns = self.context.workspace.reuses
        for inputs, part in products:
            for term, x in zip(self.linear.terms, inputs or self.ones, strict=True):
                if x is None or term.map.vanishes(part):
                    continue
                if total is not None:
                    z = term.map.forward(x, part)
                    shape = torch.broadcast_shapes(total.shape, z.shape)
                    out = total if fresh else self._room(shape, total)
                    total, fresh = torch.add(total, z, out=out), owns
                elif bias is not None:
                    total, fresh = term.map.affine(x, part, bias), owns
                else:
                    total = term.map.forward(x, part)
                    fresh = owns and term.map.fresh and not part.ones
                fresh = fresh and total.shape == self.value.shape
        if total is None:
            zero = torch.zeros((), dtype=self.context.dtype, device=self.context.device)
            total = (zero if bias is None else bias).expand(self.value.shape)
        if fresh:
            self._totals.append(total)
        return total

    def _room(self, shape: torch.Size, like: Tensor) -> Tensor | None:
        return self.context.workspace.take(like) if like.shape == shape else None

    def owned(self, tensor: Tensor) -> Tensor | None:
        """A sum that `forward` has made here, which may be overwritten."""
        return tensor if any(total is tensor for total in self._totals) else None

    @property
    def is_single(self) -> bool:
        """Whether shortcuts of single precision are taken: differences of 1e-7 are rounding."""
        return self.context.dtype == torch.float32 and self.context.workspace.reuses

    def emptied(self, total: Tensor, *, agrees: bool = True) -> tuple[Tensor, Tensor | None]:
        """A side that is never negative, infinite where it is empty, so that nothing flows there.

        Those outputs are marked, unless none of them has relevance: known from the plan for a side
        that `agrees` with z, or else from the data, where looking at them stops nothing.
        """
        if not is_away(total) and bool(total.amin() > SMALL):
            return total, None
        out = self.context.workspace.take(total) if self.owned(total) is None else total
        total = torch.ops.aten.threshold.out(total, SMALL, torch.inf, out=out)
        return total, None if agrees and self.silent else total == torch.inf

    def negated(self, total: Tensor) -> Tensor:
        """-total, in memory of its own."""
        own = self.owned(total)
        return torch.neg(total, out=self.context.workspace.take(total) if own is None else own)

    def agreeing(self, z: Tensor, side: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        """The size of `side` where z is positive, of `factor` z - `side` elsewhere; and a mask."""
        workspace = self.context.workspace
        positive = torch.ge(z, 0, out=workspace.take(side))
        other = torch.sub(side, z, alpha=factor, out=workspace.take(side))
        found = torch.lerp(other, side, positive, out=other)
        self._totals.append(found)
        return found, positive

    def room(self, like: Tensor) -> Tensor | None:
        """Memory for two tensors side by side, where a map takes outputs stacked along an axis."""
        if self.stacks is None:
            return None
        if self._both is None:
            self._both = self.context.workspace.take(like, stacked=(self.stacks, 2))
        return self._both

    def halves(self, room: Tensor) -> list[Tensor]:
        """The two tensors that stand side by side."""
        assert self.stacks is not None
        return list(room.chunk(2, self.stacks))

    @property
    def stacks(self) -> int | None:
        """The axis along which outputs can be stacked."""
        return self.linear.terms[0].map.stacks if len(self.linear.terms) == 1 else None

    @property
    def has_kernel(self) -> bool:
        """Whether a dense layer or convolution computes it, which adds a bias at no cost."""
        return self.linear.terms[0].map.held is not None

    @property
    def differences_are_accurate(self) -> bool:
        """Whether z- may be taken as z - z+: for inputs that are not negative and weights of both
        signs.
        """
        weights = [term.map.held for term in self.linear.terms]
        lopsided = any(weight is None or weight.lopsided for weight in weights)
        return not any(self.signed) and not lopsided

    def relative_rest(self, z: Tensor, side: Tensor) -> Tensor | None:
        """1 - z / side: the other side over this one, but for its sign.

        None where it is small beside this one, so that the difference is mostly rounding, or where
        looking at it would make the device wait.
        """
        if is_away(side):
            return None
        room = self.room(side) if self.context.once else None  # where a quotient will stand
        out = self.context.workspace.take(side) if room is None else self.halves(room)[1]
        one = torch.ones((), dtype=side.dtype, device=side.device)
        rest = torch.addcdiv(one, z, side, value=-1, out=out)
        return rest if bool(rest.amin() > ROUNDED) else None

    def passing(self) -> Sharer:
        """R_i = R_j, where one input has the shape of the output."""
        term = self.linear.terms[0]
        if len(self.linear.terms) != 1 or term.value.shape != self.value.shape:
            raise InvalidRule(
                f"Pass: {self.context.operation.name} does not keep the shape of a single input "
                f"({tuple(term.value.shape)} to {tuple(self.value.shape)}); give it another rule"
            )
        return lambda relevance: Share([relevance[0]])
