"""Heatmaps and masks as the measures take them: arrays or tensors, checked."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import InvalidInput

Array = ArrayLike | Tensor


def as_maps(relevance: Array) -> Tensor:
    """Relevance `[N, ...]` as float64, where it lives.

    Raises InvalidInput for maps without pixels or with values that are not finite.
    """
    found = torch.as_tensor(relevance).detach().double()
    if found.ndim < 2 or found.numel() == 0:
        raise InvalidInput(
            f"heatmaps are {list(found.shape)}; expected [N, H, W] with one image at least"
        )
    if not bool(torch.isfinite(found).all()):
        raise InvalidInput("heatmaps contain NaN or infinite values")
    return found


def as_planes(relevance: Array) -> Tensor:
    """The same for `[N, H, W]` only."""
    found = as_maps(relevance)
    if found.ndim != 3:
        raise InvalidInput(
            f"heatmaps are {list(found.shape)}; expected [N, H, W]: pool channels first "
            "(relprop.viz.pool_channels)"
        )
    return found


def as_masks(mask: Array, relevance: Tensor) -> Tensor:
    """True where the evidence is, bool `[N, H, W]`, from `[N, H, W]` or `[H, W]` of booleans, or of
    0 and 1. Raises InvalidInput for other shapes and values.
    """
    found = torch.as_tensor(mask).to(relevance.device)
    if found.dtype != torch.bool and not bool(((found == 0) | (found == 1)).all()):
        raise InvalidInput("a mask is of booleans, or of 0 and 1; this one has other values")
    if list(found.shape) not in (list(relevance.shape), list(relevance.shape[1:])):
        raise InvalidInput(
            f"masks are {list(found.shape)} for relevance {list(relevance.shape)}; give one for "
            "each map, or one for all"
        )
    return found.bool().expand(relevance.shape)
