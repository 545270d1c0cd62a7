"""Traits: what ATen operations say about themselves, and which a recorder treats in a way of their
own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .operations.registry import overloads

aten = torch.ops.aten
SCALAR_READS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
SHAPE_ONLY = set(
    overloads(
        *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "zero"),
        *("new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided", "fill.Scalar"),
    )
)
RANDOMISED = set(overloads("rrelu_with_noise", "rrelu_with_noise_functional", "rrelu"))
EMBEDDINGS = set(overloads("embedding", "_embedding_bag", "_embedding_bag_forward_only"))
DECOMPOSED: dict[Any, Callable[..., Tensor]] = {
    aten.addcmul.default: lambda x, a, b, value=1: x + (a * b if value == 1 else a * b * value),
    aten.addcdiv.default: lambda x, a, b, value=1: x + (a / b if value == 1 else a / b * value),
    aten.lerp.Tensor: lambda x, y, weight: x + (y - x) * weight,
}


@dataclass(frozen=True)
class Traits:
    """What an ATen operation says about itself; asked once, since asking is slow."""

    mutable: bool
    written: tuple[int, ...]  # the positions of arguments that it changes
    random: bool
    views_in_place: bool


@cache
def traits(func: Any) -> Traits:
    """The traits of an ATen overload."""
    schema = func._schema
    written = [
        i
        for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    random = torch.Tag.nondeterministic_seeded in func.tags
    return Traits(schema.is_mutable, tuple(written), random, torch.Tag.inplace_view in func.tags)


@cache
def pure_form(func: Any) -> Any:
    """The operation that computes what an in-place one writes (clamp_min for clamp_min_)."""
    name = func._schema.name.removeprefix("aten::")
    if not name.endswith("_"):
        return None
    return next(iter(overloads(f"{name[:-1]}.{func._overloadname}")), None)
