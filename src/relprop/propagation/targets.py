"""Targets: which output neurons are explained, and where relevance starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidTarget
from .doubts import holds

Target = Any
WAYS = (
    "None (the predicted class), a class, a class per sample, float weights shaped like the "
    "output, "
    "a callable from output to weights, a dict of name -> classes, or 'all'"
)


@dataclass(frozen=True, eq=False)
class Start:
    """`weights`: one tensor shaped like the output for each map; relevance starts at weights *
    output.

    `target` is what the explanation shows; `single` says whether the maps get an axis of their own.
    """

    weights: list[Tensor]
    target: Any
    single: bool


def choose_start(output: Tensor, target: Target, class_axis: int = -1) -> Start:
    """Where relevance starts. Raises InvalidTarget with what was given and what is possible."""
    try:
        return _start(output, target, class_axis)
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidTarget):
            raise
        raise InvalidTarget(f"target {target!r} is not understood; possible are: {WAYS}") from error


def _start(output: Tensor, target: Target, class_axis: int) -> Start:
    if isinstance(target, float):
        raise InvalidTarget(f"target {target} is a single float; a class is an integer: {WAYS}")
    if isinstance(target, np.ndarray):
        target = torch.from_numpy(target)
    if isinstance(target, str):
        if target != "all":
            raise InvalidTarget(f"unknown target {target!r}; possible are: {WAYS}")
        return _groups(
            output, {str(k): [k] for k in range(_classes(output, class_axis))}, class_axis, "all"
        )
    if isinstance(target, Mapping):
        listed = {k: list(m) if isinstance(m, Iterable) else [m] for k, m in target.items()}
        return _groups(output, listed, class_axis, listed)
    if callable(target) and not isinstance(target, Tensor):
        return _weighted(output, target(output), "the callable's weights")
    if isinstance(target, Tensor) and target.is_floating_point():
        return _weighted(output, target, "weights")
    if _is_floats(target):
        return _weighted(output, torch.tensor(target), "weights")
    if _is_index_tuples(target):
        return _indexed(output, target)
    classes = _class_per_sample(output, target, class_axis)
    return Start([_one_hot(output, classes, class_axis)], classes, True)


def predicted(output: Tensor, class_axis: int = -1) -> Tensor:
    """`[N]`: the class with the largest output; 0 where there is a single output."""
    _classes(output, class_axis)
    if output.ndim == 1:
        return torch.zeros(output.shape[0], dtype=torch.long, device=output.device)
    return output.argmax(class_axis).reshape(output.shape[0])


def weights_of(target: Target) -> Tensor | None:
    """The target as float weights, if it is that."""
    if isinstance(target, np.ndarray):
        target = torch.from_numpy(target)
    if isinstance(target, Tensor):
        return target if target.is_floating_point() else None
    return torch.tensor(target) if _is_floats(target) else None


def part_of(target: Target, chosen: slice, samples: int) -> Target:
    """The part of a target that belongs to some of the samples.

    Whether weights are given for each sample shows only beside the output: the first axis of
    weights with as many axes as the output is the sample.
    """
    weights = weights_of(target)
    if weights is not None:

        def select(output: Tensor) -> Tensor:
            each = weights.ndim == output.ndim and weights.shape[0] == samples
            return weights[chosen] if each else weights

        return select
    listed = isinstance(target, (list, tuple, Tensor, np.ndarray))
    return target[chosen] if listed and np.ndim(target) != 0 and len(target) == samples else target


def _class_per_sample(output: Tensor, target: Target, class_axis: int) -> Tensor:
    number = _classes(output, class_axis)
    samples = output.shape[0]
    if isinstance(target, bool):
        raise InvalidTarget(f"target {target} is a bool; possible are: {WAYS}")
    if hasattr(target, "__index__") and not isinstance(target, Tensor):
        target = [int(target)] * samples
    try:
        classes = torch.as_tensor(target, device=output.device)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidTarget(f"target {target!r} is not understood; possible are: {WAYS}") from None
    if classes.is_floating_point() or classes.dtype == torch.bool or classes.dtype.is_complex:
        raise InvalidTarget(
            f"target of dtype {classes.dtype} is not understood; possible are: {WAYS}"
        )
    if classes.ndim == 0:
        classes = classes.expand(samples)
    if classes.shape != (samples,):
        raise InvalidTarget(
            f"one class per sample needs {samples} integers, got shape {tuple(classes.shape)}; "
            f"possible are: {WAYS}"
        )
    if not holds(((classes >= 0) & (classes < number)).all()):
        raise InvalidTarget(
            f"target {classes.tolist()} is out of range: classes are 0..{number - 1}"
        )
    return classes.long().clamp(0, number - 1)  # for a device that has not been asked yet


def _classes(output: Tensor, class_axis: int) -> int:
    """The number of classes; an error where there are axes besides samples and classes."""
    if output.ndim == 1:
        return 1
    if not isinstance(class_axis, int):
        raise InvalidTarget(f"class_axis must be an integer, got {class_axis!r}")
    if not -output.ndim <= class_axis < output.ndim or class_axis % output.ndim == 0:
        raise InvalidTarget(
            f"class_axis={class_axis} does not fit an output of shape {tuple(output.shape)}"
        )
    rest = [n for i, n in enumerate(output.shape) if i not in (0, class_axis % output.ndim)]
    if any(n != 1 for n in rest):
        raise InvalidTarget(
            f"the output has shape {tuple(output.shape)}, more axes than samples and classes: pass "
            "weights shaped like it, a callable, or an index tuple per sample such as "
            "[(position, class), ...]"
        )
    return output.shape[class_axis]


def _one_hot(output: Tensor, classes: Tensor, class_axis: int) -> Tensor:
    weights = torch.zeros_like(output)
    if output.ndim == 1:
        return weights + 1
    shape = [1] * output.ndim
    shape[0] = output.shape[0]
    return weights.scatter(class_axis, classes.reshape(shape), 1.0)


def _groups(
    output: Tensor, groups: Mapping[Any, Sequence[int]], class_axis: int, shown: Any
) -> Start:
    if not groups:
        raise InvalidTarget("the dict of groups is empty")
    number = _classes(output, class_axis)
    weights = []
    for name, members in groups.items():
        whole = all(isinstance(m, int) and not isinstance(m, bool) for m in members)
        if not members or not whole or not all(0 <= m < number for m in members):
            raise InvalidTarget(
                f"group {name!r}: {members!r} must be a list of classes, each in 0..{number - 1}"
            )
        weight = torch.zeros_like(output)
        for member in members:
            same = torch.full((output.shape[0],), member, device=output.device)
            weight = torch.maximum(weight, _one_hot(output, same, class_axis))
        weights.append(weight)
    return Start(weights, shown, False)


def _weighted(output: Tensor, weights: Any, what: str) -> Start:
    if not isinstance(weights, Tensor):
        raise InvalidTarget(f"{what} must be a float tensor, got {type(weights).__name__}")
    if not weights.is_floating_point():
        weights = weights.to(output.dtype)
    try:
        full = weights.to(output).expand(output.shape)
    except RuntimeError:
        raise InvalidTarget(
            f"{what} of shape {tuple(weights.shape)} cannot be broadcast to the output "
            f"{tuple(output.shape)}"
        ) from None
    if not holds(torch.isfinite(full).all()):
        raise InvalidTarget(f"{what} contain NaN or infinite values")
    return Start([full], weights, True)


def _indexed(output: Tensor, target: Sequence[Any]) -> Start:
    samples, depth = output.shape[0], output.ndim - 1
    listed = list(target)
    if len(listed) != samples or any(len(index) != depth for index in listed):
        raise InvalidTarget(
            f"index tuples for an output of shape {tuple(output.shape)}: one of {depth} integers "
            "for each "
            f"of the {samples} samples, got {target!r}"
        )
    weights = torch.zeros_like(output)
    for sample, index in enumerate(listed):
        limits = output.shape[1:]
        if not all(isinstance(i, int) and 0 <= i < n for i, n in zip(index, limits, strict=True)):
            raise InvalidTarget(
                f"index {tuple(index)} is out of range for an output of {tuple(limits)}"
            )
        weights[(sample, *index)] = 1
    return Start([weights], listed, True)


def _is_floats(target: Target) -> bool:
    if not isinstance(target, (list, tuple)) or not target:
        return isinstance(target, float)
    flat = [item for row in target for item in (row if isinstance(row, (list, tuple)) else [row])]
    return any(isinstance(item, float) for item in flat)


def _is_index_tuples(target: Target) -> bool:
    return (
        isinstance(target, (list, tuple))
        and bool(target)
        and all(isinstance(item, tuple) for item in target)
    )
