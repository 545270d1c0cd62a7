"""What stands where a region was: noise, a constant, a blur, the sign turned, what neighbours say.

A fill answers for whole images, and only the pixels of replaced regions are taken from its answer.
So a pixel is drawn once for an image and a repeat: it keeps its value in all later steps, and it is
the same for every order and method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InvalidInput, UnknownName
from .imputation import NEIGHBOURS, NoisyLinear
from .noise import generator, uniform

FILLS = ("uniform", "mean", "blur", "noisy-linear", "flip")

# (images [L, C, H, W], masks [L, H, W], generator) -> images [L, C, H, W]
OwnFill = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Fill:
    """`values`: images `[P, C, H, W]` and the seeds of their runs `[P]` -> what is to be put in,
    a tensor that broadcasts to `[P, C, H, W]`.

    `noisy` says whether repeats differ.
    """

    name: str
    noisy: bool
    values: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class StepFill:
    """A fill that depends on all that is missing: it is asked for all steps of a run at once.

    `values`: an image `[C, H, W]`, the masks `[L, H, W]` of its steps and the run's seed ->
    `[L, C, H, W]`.
    """

    name: str
    noisy: bool
    values: Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class ValueRange:
    """The lowest and the highest value that data take, a number for each channel, `[C]`."""

    low: Tensor = field(repr=False)
    high: Tensor = field(repr=False)


def make_fill(fill: str | float | OwnFill, values: ValueRange, region: int) -> Fill | StepFill:
    """The fill of this name, of this number, or of this function.

    Raises UnknownName for another name, InvalidInput for anything else.
    """
    if callable(fill):
        return StepFill(_name_of(fill), True, _Own(fill))
    if isinstance(fill, (int, float)) and not isinstance(fill, bool):
        constant = torch.tensor(float(fill))
        return Fill(f"{fill:g}", False, lambda images, seeds: constant.to(images).view(1, 1, 1, 1))
    if not isinstance(fill, str):
        raise InvalidInput(
            f"fill is {fill!r}; it must be a number, a function of (images, mask, generator), or "
            f"one of: {', '.join(FILLS)}"
        )
    if fill == "uniform":
        return Fill(fill, True, _Uniform(values))
    if fill == "mean":
        return Fill(fill, False, lambda images, seeds: images.mean((2, 3), keepdim=True))
    if fill == "blur":
        return Fill(fill, False, lambda images, seeds: blurred(images, float(region)))
    if fill == "flip":
        return Fill(fill, False, lambda images, seeds: -images)
    if fill == NEIGHBOURS:
        return StepFill(fill, True, NoisyLinear(values.high - values.low))
    raise UnknownName("fill", fill, FILLS)


@dataclass(frozen=True)
class _Uniform:
    """Every pixel and channel anew, uniform in the data's range."""

    range: ValueRange

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        drawn = uniform(seeds, images[0].numel()).to(images.dtype).view_as(images)
        low, high = (bound.view(-1, 1, 1) for bound in (self.range.low, self.range.high))
        return drawn.mul_(high - low).add_(low)


@dataclass(frozen=True)
class _Own:
    """A fill from outside, with a generator of the run."""

    function: OwnFill

    def __call__(self, image: Tensor, masks: Tensor, seed: int) -> Tensor:
        images = image.expand(len(masks), *image.shape).clone()
        found = self.function(images, masks.clone(), generator(seed, image.device))
        if not isinstance(found, Tensor) or found.shape != images.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InvalidInput(
                f"fill {_name_of(self.function)} returned {shape} for images "
                f"{tuple(images.shape)}; it must return images of the same shape"
            )
        return found.to(image)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """`[P, C, H, W]` under a Gaussian of `sigma` pixels, cut at three of them; edges are copied."""
    height, width = images.shape[2:]
    for axis, size in ((2, height), (3, width)):
        reach = min(round(3 * sigma), size - 1)
        places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        weights = torch.exp(-(places**2) / (2 * sigma**2))
        kernel = (weights / weights.sum()).view((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
        border = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(images, border, mode="replicate")
        images = functional.conv2d(padded.flatten(0, 1)[:, None], kernel)[:, 0].view_as(images)
    return images


def _name_of(function: OwnFill) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
