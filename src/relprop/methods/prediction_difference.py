"""Prediction difference analysis: what the output loses when a patch is not known (Zintgraf et al.
2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, InvalidTarget, UnknownName
from ..result import Explanation
from .gaussian_patches import PatchGaussian, Place, fit_patches
from .options import whole_number
from .registry import register
from .subject import Subject, explained, image_of

METHOD = "prediction-difference"
MEASURES = ("score", "evidence")
CERTAIN = 1e-12  # a probability is kept so far from 0 and 1


@register(METHOD, question="sampling", cost="`samples` forward passes for each place of the patch")
def prediction_difference(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    data: Tensor | PatchGaussian | None = None,
    patch: int = 4,
    surround: int = 2,
    stride: int | None = None,
    samples: int = 10,
    measure: str = "score",
    seed: int = 0,
    at_once: int = 256,
) -> Explanation:
    """The output minus its mean over what could stand in a patch, given what surrounds it.

    A question by sampling, without leaving the data: a patch of `patch` x `patch` positions
    is drawn `samples` times, with `seed`, from a Gaussian given the `surround` positions around it.
    `data`: images like the inputs that the Gaussian is fitted to, or `fit_patches(images, patch + 2
    * surround)`. Patches stand `stride` apart (None: half a patch); a position gets the mean over
    its patches, shared evenly among channels. `measure`: "score", or "evidence", the difference of
    log2 odds of a class's probability. Images `[N, C, H, W]` only. Cost: `samples` forward passes a
    patch, `at_once` images together.

    Raises InvalidInput, UnknownName (`measure`), InvalidTarget (evidence for no single class).
    """
    if measure not in MEASURES:
        raise UnknownName("measure of prediction differences", measure, MEASURES)
    stride = max(1, patch // 2) if stride is None else stride
    for name, number in (("patch", patch), ("stride", stride), ("samples", samples)):
        whole_number(METHOD, name, number)
    for name, number in (("surround", surround), ("seed", seed)):
        whole_number(METHOD, name, number, least=0)
    whole_number(METHOD, "at_once", at_once)
    if stride > patch:
        raise InvalidInput(
            f"method {METHOD!r}: stride={stride} leaves gaps between patches of {patch}"
        )
    outer = patch + 2 * surround

    def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
        x = image_of(subject, METHOD)
        gaussian = _gaussian(data, outer, x, seed)
        if measure == "evidence":
            _check_class(weights)
        value = _evidence if measure == "evidence" else _score
        whole = value(subject, weights, subject.output[:, None])
        generator = torch.Generator().manual_seed(seed)
        total, count = torch.zeros_like(x[:, :1]), torch.zeros_like(x[:1, :1])
        for place in _places(x, patch, stride):
            noise = torch.randn(samples, x.shape[1] * patch**2, generator=generator)
            drawn = _drawn(x, gaussian, place, patch, noise)
            outputs = _outputs(subject, x, drawn, place, at_once)
            inside = _square(place, patch)
            total[inside] += (whole - value(subject, weights, outputs)).reshape(-1, 1, 1, 1)
            count[inside] += 1
        return [(total / count / x.shape[1]).expand(x.shape)]

    return explained(model, inputs, target, class_axis, maps, method=METHOD)


def _gaussian(data: Any, size: int, x: Tensor, seed: int) -> PatchGaussian:
    if data is None:
        raise InvalidInput(
            f"method {METHOD!r} needs data=: images like the inputs, or what fit_patches made"
        )
    found = data if isinstance(data, PatchGaussian) else fit_patches(data, size, seed=seed)
    if found.size != size or found.channels != x.shape[1]:
        raise InvalidInput(
            f"the Gaussian is of {found.channels} channels and patches of {found.size}; "
            f"{x.shape[1]} and patch + 2 surround = {size} are needed"
        )
    if min(x.shape[2:]) < size:
        raise InvalidInput(
            f"images of {tuple(x.shape[2:])} are smaller than patch + 2 surround = {size}"
        )
    return found


def _places(x: Tensor, patch: int, stride: int) -> Iterator[Place]:
    """Where patches stand: `stride` apart, and at the far edges."""
    height, width = (size - patch for size in x.shape[2:])
    rows, columns = ([*range(0, last, stride), last] for last in (height, width))
    return product(rows, columns)


def _square(place: Place, size: int) -> tuple[Any, ...]:
    row, column = place
    return (..., slice(row, row + size), slice(column, column + size))


def _drawn(x: Tensor, gaussian: PatchGaussian, place: Place, patch: int, noise: Tensor) -> Tensor:
    """`[N, S, C, patch, patch]`; what surrounds a patch at the edge lies to one side of it."""
    margin = (gaussian.size - patch) // 2
    corner = tuple(
        min(max(0, begin - margin), size - gaussian.size)
        for begin, size in zip(place, x.shape[2:], strict=True)
    )
    within = (place[0] - corner[0], place[1] - corner[1])
    surround = x[_square((corner[0], corner[1]), gaussian.size)].cpu()
    return gaussian.draw(surround, within, patch, noise).to(x)


def _outputs(subject: Subject, x: Tensor, drawn: Tensor, place: Place, at_once: int) -> Tensor:
    """`[N, S, ...]`: the outputs for all images with every drawn patch in them."""
    samples, draws, patch = *drawn.shape[:2], drawn.shape[-1]
    found = []
    for rows in torch.arange(samples * draws).split(at_once):
        images = x[rows // draws]
        images[_square(place, patch)] = drawn.flatten(0, 1)[rows]
        found.append(subject.scores([images]))
    return torch.cat(found).unflatten(0, (samples, draws))


def _score(subject: Subject, weights: Tensor, outputs: Tensor) -> Tensor:
    """`[N]`: the mean of the explained score over draws `[N, S, ...]`."""
    return (outputs.mean(1) * weights).reshape(len(weights), -1).sum(1)


def _evidence(subject: Subject, weights: Tensor, outputs: Tensor) -> Tensor:
    """`[N]`: log2 odds of the class's mean probability over draws."""
    axis = subject.class_axis + (subject.class_axis >= 0)
    probable = _score(subject, weights.double(), outputs.double().softmax(axis))
    probable = probable.clamp(CERTAIN, 1 - CERTAIN)
    return (probable / (1 - probable)).log2().to(weights)


def _check_class(weights: Tensor) -> None:
    rows = weights.reshape(len(weights), -1)
    if weights.ndim < 2 or not bool(((rows == 1).sum(1) == 1).all() and (rows.sum(1) == 1).all()):
        raise InvalidTarget(
            f"method {METHOD!r}: measure='evidence' is about one class of several; weights and "
            "groups have no probability, ask for measure='score'"
        )
