"""Averages of the gradient over many points: along a path, or in a neighbourhood."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InvalidInput, RelpropWarning
from ..propagation.checks import check_inputs
from ..propagation.targets import Start
from ..result import Explanation
from .objective import Maps, Pass, asking, explanation_of, tensors_of
from .options import amount, flag, whole_number
from .packed import combined, looked
from .plain import Differentiator
from .registry import register

MISSING = 0.05  # of what a map holds: integrated gradients that miss more give a warning


@register("integrated-gradients", question="attribution", cost="one for each step")
def integrated_gradients(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    reference: Any = None,
    steps: int = 32,
    pack: int = 8,
) -> Explanation:
    """R_i = (x_i - x'_i) times the mean of df/dx_i between the reference x' and x.

    A question about attribution (Sundararajan et al. 2017): maps sum to f(x) - f(x'), up to the
    error of the integral, of which a warning tells. `reference`: None (zeros), a number, a tensor
    that broadcasts to the input, or a tuple or dict of these as the inputs are one. `steps` nodes
    of Gauss and Legendre; `pack`: how many rows run at once, at least one of each sample; more take
    more memory, and less time on a device. Cost: one gradient for each step, two forward passes.
    Raises as `gradient`, and InvalidInput for options that do not fit.
    """
    name = "integrated-gradients"
    for option, given in (("steps", steps), ("pack", pack)):
        whole_number(name, option, given)
    check_inputs(inputs)
    tensors = tensors_of(inputs)
    origins = _references(inputs, reference)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places = torch.from_numpy((nodes + 1) / 2)

    def on_the_path(number: int, which: slice) -> Tensor:
        tensor, origin = tensors[number], origins[number]
        place = places[which].to(tensor).reshape(-1, *[1] * tensor.ndim)
        return origin + place * (tensor - origin)

    differentiate = Differentiator(model)
    run = looked(differentiate, inputs, asking(target, class_axis))
    factors = (weights / 2).tolist()
    means = combined(differentiate, inputs, run.start, on_the_path, factors, pack)
    maps: Maps = [
        [
            None if mean is None else mean * (tensor - origin)
            for mean, tensor, origin in zip(found, tensors, origins, strict=True)
        ]
        for found in means
    ]
    _warn_incomplete(differentiate, inputs, run, maps, origins)
    return explanation_of(name, inputs, run, maps)


@register("smoothgrad", question="function", cost="one for each sample of noise")
def smoothgrad(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    squared: bool = False,
    pack: int = 8,
) -> Explanation:
    """The mean of df/dx over noisy copies of the input (Smilkov et al. 2017).

    A question about the function. `noise`: the standard deviation, as a share of the range
    max - min of each sample. All samples see the same draws, so that a batch equals its samples
    one by one. `squared` averages squares, a variance of the gradient (Hooker et al. 2019). `pack`
    as in `integrated_gradients`. Heatmaps pool channels by their l2 norm, squares by their sum.
    Cost: one gradient for each of `samples`, one forward pass. Raises as `gradient`, and
    InvalidInput for options that do not fit.
    """
    name = "smoothgrad"
    for option, given in (("samples", samples), ("pack", pack)):
        whole_number(name, option, given)
    whole_number(name, "seed", seed, least=0)
    amount(name, "noise", noise)
    flag(name, "squared", squared)
    check_inputs(inputs)
    tensors = tensors_of(inputs)
    draws = [_draws(tensor, samples, seed, number) for number, tensor in enumerate(tensors)]
    scales = [noise * _range(tensor) for tensor in tensors]

    def around(number: int, which: slice) -> Tensor:
        return tensors[number] + scales[number] * draws[number][which, None]

    differentiate = Differentiator(model)
    run = looked(differentiate, inputs, asking(target, class_axis))
    factors = [1 / samples] * samples
    of = torch.square if squared else None
    maps = combined(differentiate, inputs, run.start, around, factors, pack, of)
    return explanation_of(name, inputs, run, maps, pooling="sum" if squared else "l2")


def _references(inputs: Any, reference: Any) -> list[Tensor]:
    """One reference for each tensor among the inputs, of its shape; integers stay as they are."""
    leaves = pytree.tree_leaves(inputs)
    if isinstance(inputs, Tensor) or reference is None or isinstance(reference, (int, float)):
        given = [reference] * len(leaves)
    else:
        given = _in_order(inputs, reference)
    return [
        _reference(leaf.detach(), each)
        for leaf, each in zip(leaves, given, strict=True)
        if isinstance(leaf, Tensor)
    ]


def _in_order(inputs: Any, reference: Any) -> list[Any]:
    """The parts of a reference that is structured as the inputs, in their order."""
    if isinstance(inputs, Mapping) and isinstance(reference, Mapping):
        reference = [reference[key] for key in inputs if key in reference]
    given = pytree.tree_leaves(reference)
    wanted = len(pytree.tree_leaves(inputs))
    if len(given) != wanted:
        raise InvalidInput(
            f"reference has {len(given)} parts for {wanted} inputs: give it the structure of the "
            "inputs, or one number for all"
        )
    return given


def _reference(tensor: Tensor, given: Any) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    try:
        origin = torch.as_tensor(0.0 if given is None else given).to(tensor)
        origin = origin.detach().expand(tensor.shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            "reference must be a number or a tensor that broadcasts to the input "
            f"{tuple(tensor.shape)}, or be structured as the inputs: {error}"
        ) from error
    if not bool(torch.isfinite(origin).all()):
        raise InvalidInput("the reference contains NaN or infinite values")
    return origin


def _warn_incomplete(
    differentiate: Differentiator, inputs: Any, run: Pass, maps: Maps, origins: list[Tensor]
) -> None:
    """Compare what the maps sum to with f(x) - f(x')."""
    flat, structure = pytree.tree_flatten(inputs)
    remaining = iter(origins)
    leaves = [next(remaining) if isinstance(leaf, Tensor) else leaf for leaf in flat]
    start = run.start
    plain = Start([], None, True)
    there = differentiate(pytree.tree_unflatten(leaves, structure), lambda *_: plain).output
    worst = 0.0
    for weights, found in zip(start.weights, maps, strict=True):
        held = [each.flatten(1) for each in found if each is not None]
        total, size = (sum(part.sum(1) for part in parts) for parts in (held, map(abs, held)))
        changed = weights * (run.output - there)
        change = changed.reshape(len(changed), -1).sum(1)
        scale = torch.maximum(torch.as_tensor(size), change.abs()).clamp(min=1e-30)
        worst = max(worst, float(((change - total).abs() / scale).max()))
    if worst > MISSING:
        warnings.warn(
            f"integrated gradients miss f(x) - f(reference) by up to {worst:.0%} of what the maps "
            "hold: take more steps",
            RelpropWarning,
            stacklevel=7,
        )


def _draws(tensor: Tensor, samples: int, seed: int, number: int) -> Tensor:
    """`[samples, ...]` for one sample of the input, standard normal."""
    if not tensor.is_floating_point():
        return tensor
    generator = torch.Generator(tensor.device).manual_seed((seed + number) % 2**63)
    shape = (samples, *tensor.shape[1:])
    return torch.randn(shape, generator=generator, device=tensor.device).to(tensor.dtype)


def _range(tensor: Tensor) -> Tensor:
    """max - min of each sample, broadcastable to it."""
    if not tensor.is_floating_point():
        return tensor
    flat = tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]
    spread = flat.amax(1) - flat.amin(1)
    return spread.reshape(-1, *[1] * (tensor.ndim - 1))
