"""The rules: how an operation that is linear in its input shares relevance among its inputs.

Notation: x_i inputs, z_ij = x_i w_ij contributions, z_j = sum_i z_ij + b_j outputs, R_j relevance
of an output, R_i<-j the message to an input. w+ and w- are the positive and negative parts, x+
and x- too.

A rule says in what proportions relevance flows: a list of `Flow`s, each a numerator (products of
parts of x with parts of w), the denominator that it sums to, and the share of R_j that it carries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..errors import InvalidRule
from .flow import GUARD, TINY, Flow, Inputs, Products
from .operations.box import bounds
from .parameters import check_bounds, check_parameters, written
from .parts import MAGNITUDE, NEGATIVE, ONES, POSITIVE, SQUARE, WEIGHT, Part

if TYPE_CHECKING:
    from .operations.linear import Bound

NEEDS = (
    "nothing",
    "inputs",
    "sign of the output",  # nothing where only positive outputs have relevance
    "positive output",  # may be 0 where it is not positive, if only positive ones have relevance
    "output",
)  # all but the first read the inputs too


@dataclass(frozen=True)
class Rule:
    """Base of the rules. `bias`: "absorb" its share (thesis 2.16), "distribute" it evenly, or
    "ignore" it."""

    bias: str = field(default="absorb", kw_only=True)
    first_layer_only: ClassVar[bool] = False
    needs: ClassVar[Any] = "output"  # what `flows` reads, one of NEEDS
    spares_zeros: ClassVar[bool] = False  # whether inputs that are zero surely receive nothing

    limits: ClassVar[dict[str, tuple[float, float]]] = {}  # of the parameters

    def __post_init__(self) -> None:
        check_parameters(self, self.limits)

    def flows(self, operation: Bound) -> list[Flow]:
        """The flows through an operation with its data at hand."""
        raise NotImplementedError

    @property
    def reads(self) -> str:
        """What `flows` reads; all there is where a subclass has flows of its own."""
        return self.needs if self._describes("needs") else Rule.needs

    @property
    def spares(self) -> bool:
        """Whether inputs that are zero surely receive nothing."""
        said = self.spares_zeros and self._describes("spares_zeros")
        return said and self.bias != "distribute"

    def _describes(self, attribute: str) -> bool:
        """Whether an attribute was written for the flows that are used, not for a parent's."""
        owners = [
            next(i for i, kind in enumerate(type(self).__mro__) if name in vars(kind))
            for name in (attribute, "flows")
        ]
        return owners[0] <= owners[1]

    def __str__(self) -> str:
        given = [(f, getattr(self, f.name)) for f in fields(self)]
        shown = [
            f"{f.name}={written(number)}"
            for f, number in given
            if not (f.kw_only and number == f.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i<-j = z_ij / (z_j + eps sign z_j) R_j (thesis 2.22); `Epsilon(0)` is the plain z-rule
    (2.10).

    `relative=True` scales epsilon by the root mean square of z over the layer, per sample.
    """

    epsilon: float = 1e-6
    relative: bool = field(default=False, kw_only=True)
    limits: ClassVar[Any] = {"epsilon": (0, math.inf)}
    spares_zeros: ClassVar[bool] = True

    @property
    def needs(self) -> str:
        return "output" if self.relative or self.bias == "ignore" else "positive output"

    def flows(self, operation: Bound) -> list[Flow]:
        z, bias = operation.output(self.bias)
        epsilon = self.epsilon * operation.rms(z) if self.relative else self.epsilon
        products: Products = [(operation.inputs, WEIGHT)]
        if operation.silent and not self.relative:
            return [Flow(products, z, epsilon or TINY, bias=bias, guard=False, sign=1)]
        guard = self.relative or self.epsilon == 0  # relative to a layer that is zero throughout
        return [Flow(products, z, epsilon, bias=bias, guard=guard)]


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """R_i<-j = (alpha z+_ij / z+_j + beta z-_ij / z-_j) R_j (thesis 2.26), alpha + beta = 1,
    alpha >= 1.

    z+_ij = x+w+ + x-w- and z-_ij = x+w- + x-w+, for inputs of either sign; b+ and b- belong to
    z+_j and z-_j. Where one side is empty its share is lost, which the ledger shows;
    `redistribute=True` gives the whole of R_j to the side that exists.
    """

    alpha: float = 2.0
    beta: float = -1.0
    redistribute: bool = field(default=False, kw_only=True)
    limits: ClassVar[Any] = {"alpha": (1, math.inf), "beta": (-math.inf, 0)}
    spares_zeros: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self.alpha + self.beta - 1) > 1e-9:
            raise InvalidRule(f"AlphaBeta: alpha + beta must be 1, got {self.alpha} + {self.beta}")

    @property
    def needs(self) -> str:
        return "inputs" if self.beta == 0 or self.redistribute else "positive output"

    def flows(self, operation: Bound) -> list[Flow]:
        positive = self._excites(operation)
        if self.beta == 0 and not self.redistribute:
            return [positive]
        everywhere = not positive.guard and positive.empty is None and self.bias == "absorb"
        if everywhere and operation.differences_are_accurate:
            z, _ = operation.output(self.bias)
            rest = operation.relative_rest(z, positive.denominator)  # -z- / z+
            if rest is not None:
                return [positive, self._remains(operation, positive, rest)]
        negative = self._inhibits(operation)
        if not self.redistribute:
            return [positive, negative]
        return [_takes_all(positive, negative), _takes_all(negative, positive)]

    def _excites(self, operation: Bound) -> Flow:
        """In single precision nothing but a tiny number is added to z+."""
        if not self._is_short(operation):
            bias = None if self.bias == "ignore" else operation.bias(POSITIVE)
            products, total = _favouring(operation, POSITIVE, NEGATIVE, bias)
            return Flow(products, total, GUARD * operation.rms(total), self.alpha, bias, sign=1)
        kernel = operation.has_kernel
        bias = operation.tiny_bias(POSITIVE) if kernel else operation.bias(POSITIVE)
        products, total = _favouring(operation, POSITIVE, NEGATIVE, bias)
        if operation.silent and (kernel or operation.lifts):
            return Flow(products, total, 0.0, self.alpha, bias, guard=False, sign=1)
        total, empty = operation.emptied(total)
        return Flow(products, total, 0.0, self.alpha, bias, guard=False, sign=1, empty=empty)

    def _remains(self, operation: Bound, positive: Flow, rest: Tensor) -> Flow:
        """What inhibits, by its denominator over that of what excites."""
        products = [(positive.products[0][0], NEGATIVE)]
        bias = operation.bias(NEGATIVE)
        return Flow(products, rest, 0.0, -self.beta, bias, guard=False, sign=1, base=positive)

    def _inhibits(self, operation: Bound) -> Flow:
        if self._is_short(operation) and operation.lone is not None:
            return Flow([], operation.inputs[operation.lone], 0.0, self.beta, lone=operation.lone)
        bias = None if self.bias == "ignore" else operation.bias(NEGATIVE)
        products, total = _favouring(operation, NEGATIVE, POSITIVE, bias)
        if not self._is_short(operation):
            return Flow(products, total, GUARD * operation.rms(total), self.beta, bias, sign=-1)
        size, empty = operation.emptied(operation.negated(total), agrees=False)
        factor, carries = -self.beta, self.beta
        return Flow(products, size, 0.0, factor, bias, False, 1, empty, None, carries)

    def _is_short(self, operation: Bound) -> bool:
        """Whether nothing but a tiny number need be added to a side."""
        return operation.is_single and not self.redistribute and self.bias == "absorb"


@dataclass(frozen=True)
class ZPlus(Rule):
    """AlphaBeta(1, 0): only what excites takes part (thesis 2.26; z+ of Montavon et al. 2017)."""

    needs: ClassVar[str] = "inputs"
    spares_zeros: ClassVar[bool] = True

    def flows(self, operation: Bound) -> list[Flow]:
        return AlphaBeta(1, 0, bias=self.bias).flows(operation)


@dataclass(frozen=True)
class Gamma(Rule):
    """R_i<-j = (z_ij + gamma z^s_ij) / (sum_i (z_ij + gamma z^s_ij) + b_j + gamma b^s_j) R_j, s
    the sign of z_j.

    Montavon et al. 2019 in its signed form: the side that agrees with the output is favoured, for
    inputs and outputs of either sign.
    """

    gamma: float = 0.25
    limits: ClassVar[Any] = {"gamma": (0, math.inf)}
    spares_zeros: ClassVar[bool] = True

    @property
    def needs(self) -> str:
        return "sign of the output" if self.bias == "absorb" else "output"

    def flows(self, operation: Bound) -> list[Flow]:
        favours = Part(1 + self.gamma, 1), Part(1, 1 + self.gamma)
        biases = [None if self.bias == "ignore" else operation.bias(part) for part in favours]
        products, total = _favouring(operation, favours[0], favours[1], biases[0])
        if operation.silent and operation.is_single:
            size, _ = operation.emptied(total)
            return [Flow(products, size, 0.0, bias=biases[0], guard=False)]
        if operation.is_single and not any(operation.signed) and self.bias == "absorb":
            return self._mirrored(operation, products, total, biases)
        z, _ = operation.output(self.bias)
        excited = z >= 0
        opposed, other = _favouring(operation, favours[1], favours[0], biases[1])
        total = torch.where(excited, total, other)
        guard = GUARD * operation.rms(total)
        return [
            Flow(products, total, guard, excited.to(total.dtype), biases[0]),
            Flow(opposed, total, guard, (~excited).to(total.dtype), biases[1]),
        ]

    def _mirrored(
        self, operation: Bound, products: Products, total: Tensor, biases: list[Tensor | None]
    ) -> list[Flow]:
        """Both sides from one sum, since z + gamma z+ and z + gamma z- add up to (2 + gamma) z.

        The denominator is of the size of the side that agrees with z.
        """
        z, _ = operation.output(self.bias)
        size, excited = operation.agreeing(z, total, 2 + self.gamma)
        size, empty = operation.emptied(size)
        opposed = [(products[0][0], Part(1, 1 + self.gamma))]
        sides = (products, excited, biases[0]), (opposed, excited - 1, biases[1])
        return [Flow(each, size, 0.0, share, bias, False, 1, empty) for each, share, bias in sides]


def _favouring(
    operation: Bound, along: Part, across: Part, bias: Tensor | None
) -> tuple[Products, Tensor]:
    """Products of x+ with one part of w and of x- with another, and their sum with the bias."""
    products: list[tuple[Inputs, Part]] = [(operation.positive, along)]
    if any(operation.signed) and not operation.vanishes(across):
        products.append((operation.negative, across))
    return products, operation.forward(products, bias)


@dataclass(frozen=True)
class Flat(Rule):
    """R_i<-j = R_j / number of inputs that j really sees; padding is not an input (thesis 2.27)."""

    needs: ClassVar[str] = "nothing"

    def flows(self, operation: Bound) -> list[Flow]:
        total = operation.forward([(None, ONES)])
        return [Flow([(None, ONES)], total, 0.0)]


@dataclass(frozen=True)
class WSquare(Rule):
    """R_i<-j = w_ij^2 / sum_i' w_i'j^2 R_j, for the first layer (thesis 2.28)."""

    first_layer_only: ClassVar[bool] = True
    needs: ClassVar[str] = "nothing"

    def flows(self, operation: Bound) -> list[Flow]:
        total = operation.forward([(None, SQUARE)])
        return [Flow([(None, SQUARE)], total, GUARD * operation.rms(total), sign=1)]


@dataclass(frozen=True)
class Box(Rule):
    """R_i<-j = (x_i w_ij - l_i w+_ij - h_i w-_ij) / sum R_j for inputs in [l, h] (z^B, Montavon
    et al. 2017).

    `low`, `high`: numbers or one value per channel, (0 - mean)/std and (1 - mean)/std of the
    preprocessing; None takes them from `model.preprocessing`. For the first layer.
    """

    low: Any = None
    high: Any = None
    first_layer_only: ClassVar[bool] = True
    needs: ClassVar[str] = "inputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.low, self.high)

    def flows(self, operation: Bound) -> list[Flow]:
        preprocessing = operation.context.recording.preprocessing
        low, high = bounds(self.low, self.high, operation.inputs, preprocessing)
        products: Products = [
            (operation.inputs, WEIGHT),
            ([-bound for bound in low], POSITIVE),
            ([-bound for bound in high], NEGATIVE),
        ]
        total = operation.forward(products)
        return [Flow(products, total, GUARD * operation.rms(total))]


@dataclass(frozen=True)
class Magnitude(Rule):
    """R_i<-j = |z_ij| / sum_i |z_ij| R_j (thesis 2.7), the counter-example of fig. 4.3."""

    needs: ClassVar[str] = "inputs"
    spares_zeros: ClassVar[bool] = True

    def flows(self, operation: Bound) -> list[Flow]:
        products: Products = [([x.abs() for x in operation.inputs], MAGNITUDE)]
        return [Flow(products, operation.forward(products), 0.0)]


@dataclass(frozen=True)
class Pass(Rule):
    """R_i = R_j, for operations that keep the shape (batch norm, LRN and the like, on request)."""


@dataclass(frozen=True)
class Constant(Rule):
    """The result is held constant: for a softmax inside the network, which then acts as a gate."""


def _takes_all(side: Flow, other: Flow) -> Flow:
    share = torch.where(other.denominator == 0, 1.0, side.share)
    share = torch.where(side.denominator == 0, torch.where(other.denominator == 0, 1.0, 0.0), share)
    both = (side.denominator == 0) & (other.denominator == 0)
    share = torch.where(both, 0.5, share)  # both sides empty: all of it is lost, half on each
    return replace(side, share=share)
