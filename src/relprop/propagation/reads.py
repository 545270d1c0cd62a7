"""A value that was read out of a run may steer it, but must not re-enter it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import UnsupportedOperation
from .recording import Operation, Recording, Value, is_continuous, leaves


def nudged(inputs: Any) -> Any:
    """The inputs, changed a little."""
    return pytree.tree_map(_nudge, inputs)


def check_reads(reads: list[str], first: Recording, second: Recording) -> None:
    """Refuse a graph whose constants change with the inputs.

    `second` is the same model run on nudged inputs: what stays constant in the graph must stay the
    same. Raises UnsupportedOperation.
    """
    same = len(second.operations) == len(first.operations) and all(
        one.target == other.target and _same_constants(one, other)
        for one, other in zip(first.operations, second.operations, strict=True)
    )
    if not same:
        raise UnsupportedOperation(
            f"a value that depends on the inputs was read out ({reads[0]}) and its result "
            "re-enters the computation, so its relevance would be lost; keep it a tensor "
            "(no .item(), .tolist() or .numpy())"
        )


def _nudge(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and is_continuous(leaf.dtype):
        return leaf.detach() * (1 + 2**-7)
    return leaf


def _same_constants(first: Operation, second: Operation) -> bool:
    pairs = zip(
        leaves((first.args, first.kwargs)), leaves((second.args, second.kwargs)), strict=False
    )
    return all(_same(one, other) for one, other in pairs)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if not is_continuous(one.dtype):
            return True  # masks and indices select; they carry nothing themselves
        return one is other or (one.shape == other.shape and torch.equal(one, other))
    if isinstance(one, Value) and isinstance(other, Value):
        return one.index == other.index
    return type(one) is type(other) and bool(one == other)
