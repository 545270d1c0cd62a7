"""Relevance against known evidence: does it lie where the truth is?"""

from __future__ import annotations

import torch
from torch import Tensor

from .maps import Array, as_masks, as_planes


def mass_inside(relevance: Array, mask: Array) -> Tensor:
    """The share of the positive relevance that lies inside the mask, float64 `[N]`.

    `relevance` is `[N, H, W]`, `mask` is of the same shape or `[H, W]`, true inside. From 0 to 1,
    larger is better; a map without a preference gets the mask's share of the image. NaN where
    nothing is positive. (Relevance mass accuracy, Arras et al. 2022.) Raises InvalidInput.
    """
    maps = as_planes(relevance)
    positive = maps.clamp(min=0)
    inside = torch.where(as_masks(mask, maps), positive, 0.0)
    return inside.sum((1, 2)) / positive.sum((1, 2))


def rank_accuracy(relevance: Array, mask: Array) -> Tensor:
    """Of the K most relevant pixels, the share inside the mask of K pixels, float64 `[N]`.

    Shapes as in `mass_inside`. From 0 to 1, larger is better; a map without a preference gets the
    mask's share of the image. Where the K-th place is tied, tied pixels count by the share of them
    that fits: the mean over all ways to break the tie. NaN for an empty mask. (Relevance rank
    accuracy, Arras et al. 2022.) Raises InvalidInput.
    """
    maps = as_planes(relevance)
    inside = as_masks(mask, maps).flatten(1)
    values = maps.flatten(1)
    size = inside.sum(1, keepdim=True)
    ordered = values.sort(1, descending=True).values
    limit = ordered.gather(1, (size - 1).clamp(min=0))
    above, tied = values > limit, values == limit
    room = (size - _count(above)) / _count(tied)
    hits = _count(above & inside) + room * _count(tied & inside)
    return (hits / size).squeeze(1)


def _count(pixels: Tensor) -> Tensor:
    return pixels.double().sum(1, keepdim=True)
