"""Concentration: is relevance on few pixels, or everywhere? Of |relevance|, so signs don't count.

The thesis ties it to generalisation (4.5.5, 7.1). It says nothing about being right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .maps import Array, as_maps


def gini(heatmaps: Array) -> Tensor:
    """The Gini coefficient of each map's magnitudes, `[N, ...]` -> float64 `[N]`.

    From 0, all the same, to 1 - 1/pixels, a single pixel; larger is more concentrated. NaN for a
    map of zeros. Raises InvalidInput for maps that are not finite.
    """
    ascending = as_maps(heatmaps).abs().flatten(1).sort(1).values
    pixels = ascending.shape[1]
    weights = 2 * torch.arange(1, pixels + 1, device=ascending.device) - pixels - 1
    return (ascending * weights).sum(1) / (pixels * ascending.sum(1))


def entropy(heatmaps: Array) -> Tensor:
    """The entropy of each map's magnitudes as shares, `[N, ...]` -> float64 `[N]`, in bits.

    From 0, a single pixel, to log2(pixels), all the same; smaller is more concentrated. NaN for a
    map of zeros. Raises InvalidInput for maps that are not finite.
    """
    magnitudes = as_maps(heatmaps).abs().flatten(1)
    shares = magnitudes / magnitudes.sum(1, keepdim=True)
    return -torch.special.xlogy(shares, shares).sum(1) / torch.log(shares.new_tensor(2.0))
