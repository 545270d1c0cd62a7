"""Folding: what follows or precedes a layer and is part of it becomes one step with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from .operations.family import Family
from .operations.fixed_maps import FunctionMap, Scale
from .operations.linear import Linear, Term
from .operations.maps import Composed, LinearMap
from .operations.movement import Move
from .operations.weights import Weight, Weights
from .parts import WEIGHT, Part
from .recording import Operation, Value
from .rules import Pass, Rule

Alone = Callable[[Value], Operation | None]
aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Reshaped(LinearMap):
    """A map whose output is viewed in another shape (a dense layer applied to `[N, T, C]`)."""

    inner: LinearMap
    inner_shape: torch.Size
    outer_shape: torch.Size

    def forward(self, x: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.inner.forward(x, part).reshape(self.outer_shape)

    def transpose(self, s: Tensor, part: Part = WEIGHT) -> Tensor:
        return self.inner.transpose(s.reshape(self.inner_shape), part)

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return self.inner.fresh

    @property
    def held(self) -> Weight | None:  # type: ignore[override]
        return self.inner.held

    def keeping(self, weights: Weights) -> LinearMap:
        return replace(self, inner=self.inner.keeping(weights))


def fold_scale(
    family: Linear, rule: Rule | None, alone: Alone, families: Sequence[Family | None]
) -> tuple[Linear, tuple[Operation, ...]]:
    """Batch norm, or a separate bias per channel, joins the dense layer or convolution that
    alone feeds it.
    """
    if (
        len(family.terms) != 1
        or isinstance(rule, Pass)
        or not isinstance(family.terms[0].map, Scale)
    ):
        return family, ()
    term, scale = family.terms[0], family.terms[0].map
    assert isinstance(scale, Scale)
    layer, operations, view = _layer_before(term.value, alone, families)
    if layer is None or len(layer.terms) != 1:
        return family, ()
    if family.kind == "normalisation" and view is None:
        per_channel = scale.factor.flatten()
        scaled = layer.terms[0].map.scaled(per_channel)
        if scaled is None:
            return family, ()
        constant = family.constant
        if layer.constant is not None and constant is not None:
            constant = constant + layer.constant * scale.factor
        return replace(
            layer, terms=[Term(layer.terms[0].value, scaled)], constant=constant
        ), operations
    if family.kind == "merge" and layer.constant is None and _is_bias(family, layer, term.value):
        inner = layer.terms[0]
        mapped = inner.map if view is None else Reshaped(inner.map, view, term.value.shape)
        return replace(
            layer, terms=[Term(inner.value, mapped)], constant=family.constant
        ), operations
    return family, ()


def fold_padding(family: Linear, alone: Alone) -> tuple[Linear, tuple[Operation, ...]]:
    """Explicit zero padding joins its convolution: padding is not an input."""
    if len(family.terms) != 1:
        return family, ()
    term = family.terms[0]
    maker = alone(term.value)
    if maker is None or maker.target is not aten.constant_pad_nd.default:
        return family, ()
    x, pads = maker.args[:2]
    if maker.argument(2, "value", 0) != 0 or any(p < 0 for p in pads):
        return family, ()
    inverse = [-p for p in pads]
    first = FunctionMap(lambda t: functional.pad(t, pads), lambda s: functional.pad(s, inverse))
    return replace(family, terms=[Term(x, Composed(first, term.map))]), (maker,)


def _layer_before(
    value: Value, alone: Alone, families: Sequence[Family | None]
) -> tuple[Linear | None, tuple[Operation, ...], torch.Size | None]:
    """The dense layer or convolution that alone feeds a value, perhaps through one view."""
    maker = alone(value)
    view: torch.Size | None = None
    operations: tuple[Operation, ...] = ()
    if maker is not None:
        family = families[maker.index]
        if isinstance(family, Move) and family.keeps_order:
            operations = (maker,)  # the view
            view = family.value.shape
            maker = alone(family.value)
    if maker is None:
        return None, (), None
    layer = families[maker.index]
    if isinstance(layer, Linear) and layer.kind in ("dense", "convolution"):
        return layer, (maker, *operations), view
    return None, (), None


def _is_bias(family: Linear, layer: Linear, value: Value) -> bool:
    """Whether the constant differs along the layer's output channels only, and nothing is
    scaled.
    """
    scale, constant = family.terms[0].map, family.constant
    assert isinstance(scale, Scale)
    if constant is None or scale.factor.ndim > 0 or scale.number != 1 or constant.ndim == 0:
        return False
    axis = -1 if layer.kind == "dense" else 1 - value.ndim
    others = [size for i, size in enumerate(constant.shape) if i - constant.ndim != axis]
    return all(size == 1 for size in others) and constant.shape[axis] == value.shape[axis]
