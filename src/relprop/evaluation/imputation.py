"""Noisy linear imputation (ROAD; Rong et al. 2022): missing pixels are what their neighbours say.

A missing pixel is the weighted mean of its eight neighbours, direct ones with twice the weight of
diagonal ones; missing neighbours are unknown themselves, so that all are solved for together. A
little noise is added: a smooth patch would itself tell where something was.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .noise import normal

NEIGHBOURS = "noisy-linear"
NOISE = 0.01  # standard deviation, in widths of the data's range

_TOLERANCE = 1e-5  # of the residual's norm, over that of the right-hand side
_ELEMENTS = 2**23  # solved for at a time
_PATIENCE = 16  # iterations between looks at the residual


class NoisyLinear:
    """The fill for all steps of a run. The last image's solution is kept for its next repeat."""

    def __init__(self, widths: Tensor) -> None:
        """`widths` of the data's range, `[C]`."""
        self._widths = widths
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, image: Tensor, masks: Tensor, seed: int) -> Tensor:
        """`[C, H, W]`, bool `[L, H, W]` -> `[L, C, H, W]`; noise is the same in all steps."""
        seeds = torch.tensor([seed], device=image.device)
        noise = normal(seeds, image.numel()).to(image.dtype).view_as(image)
        return self._solution(image, masks) + NOISE * self._widths.view(-1, 1, 1) * noise

    def _solution(self, image: Tensor, masks: Tensor) -> Tensor:
        if self._last is not None:
            known, same, solution = self._last
            if same.shape == masks.shape and torch.equal(known, image) and torch.equal(same, masks):
                return solution
        steps = max(1, _ELEMENTS // image.numel())
        solution = torch.cat([imputed(image, part) for part in masks.split(steps)])
        self._last = image, masks, solution
        return solution


def imputed(image: Tensor, masks: Tensor) -> Tensor:
    """`[C, H, W]` with the pixels of each mask, bool `[L, H, W]`, solved for: `[L, C, H, W]`.

    Conjugate gradients with the diagonal as preconditioner, all masks and channels at once. Where
    everything is missing, each channel is its mean.
    """
    missing = masks[:, None].to(image.dtype)
    degree = _from_neighbours(torch.ones_like(image[:1, None]))
    given = _from_neighbours((image * (1 - missing)).flatten(0, 1)[:, None])
    given = given.view(len(masks), *image.shape) * missing
    mean = image.mean((1, 2), keepdim=True)
    values = _solved(given, missing, degree, mean)
    whole = masks.flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(whole, mean, torch.where(masks[:, None], values, image))


def _solved(given: Tensor, missing: Tensor, degree: Tensor, start: Tensor) -> Tensor:
    """The v, zero outside of `missing`, for which degree * v - neighbours of v = given there."""
    shape = given.shape
    tiny = torch.finfo(given.dtype).tiny

    def applied(values: Tensor) -> Tensor:
        around = _from_neighbours(values.flatten(0, 1)[:, None]).view(shape)
        return missing * (degree * values - around)

    values = missing * start
    residual = given - applied(values)
    enough = _TOLERANCE**2 * _products(given, given / degree)
    direction = residual / degree
    length = _products(residual, direction)
    for iteration in range(1, 10 * (shape[2] + shape[3])):
        image_of = applied(direction)
        stride = length / _products(direction, image_of).clamp(min=tiny)
        values = values + stride * direction
        residual = residual - stride * image_of
        scaled = residual / degree
        before, length = length, _products(residual, scaled)
        if iteration % _PATIENCE == 0 and bool((length <= enough).all()):
            break
        direction = scaled + length / before.clamp(min=tiny) * direction
    return values


def _products(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum((2, 3), keepdim=True)


def _from_neighbours(values: Tensor) -> Tensor:
    """`[B, 1, H, W]`: at each pixel, the weighted sum of what stands around it."""
    kernel = torch.tensor([[1, 2, 1], [2, 0, 2], [1, 2, 1]], device=values.device) / 12
    return functional.conv2d(values, kernel.to(values.dtype)[None, None], padding=1)
