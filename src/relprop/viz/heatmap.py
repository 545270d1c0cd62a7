"""Relevance of every input component -> one signed number a position, scaled to [-1, 1]."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from relprop.errors import InvalidInput, UnknownName

Array = TypeVar("Array", NDArray[np.floating], torch.Tensor)

POOLINGS = ("sum", "l2", "max")


def pool_channels(relevance: Array, how: str = "sum", *, classes: bool | None = None) -> Array:
    """Relevance with its channels pooled: numpy in, numpy out; a tensor stays on its device.

    `[N, C, H, W]` -> `[N, H, W]`, `[N, C, T]` -> `[N, T]`; tokens `[N, T]` and tabular rows
    `[N, D]` have no channels and keep their shape. With `classes` the second axis is of classes
    and is kept: `[N, K, C, H, W]` -> `[N, K, H, W]`, `[N, K, C, T]` -> `[N, K, T]`; left out, only
    five axes are understood that way.

    `how`: "sum" for signed methods; "l2" or "max" (the largest magnitude) for sensitivity and its
    relatives, the norm of a single number being its magnitude. Raises UnknownName for another
    `how`, InvalidInput for arrays without an axis of samples and one of positions.
    """
    if how not in POOLINGS:
        raise UnknownName("pooling", how, POOLINGS)
    relevance = _floating(relevance)
    if classes is None:
        classes = relevance.ndim == 5
    leading = 2 if classes else 1
    if relevance.ndim <= leading:
        raise InvalidInput(
            f"relevance must have {leading} leading axes (samples{', classes' * classes}) and one "
            f"of positions at least; it is {list(relevance.shape)}"
        )
    if relevance.ndim == leading + 1:
        return relevance if how == "sum" else abs(relevance)
    if how == "sum":
        return relevance.sum(leading)
    if how == "l2":
        return (relevance**2).sum(leading) ** 0.5
    magnitude = abs(relevance)
    return (
        magnitude.amax(leading) if isinstance(magnitude, torch.Tensor) else magnitude.max(leading)
    )


def scale(heatmap: Array, joint: bool = False) -> Array:
    """The heatmap over its largest magnitude, so that it lies in [-1, 1] (thesis eq. 2.62).

    The first axis is of samples. Each is scaled by its own largest magnitude, over all classes
    where there are several; with `joint` all are scaled by the largest of all, so that their
    strengths can be compared (fig. 2.7). To scale the maps of several classes one by one, give
    them as samples: `scale(maps.reshape(-1, H, W))`. What is zero everywhere stays zero.
    Raises InvalidInput where a value is not finite.
    """
    heatmap = _floating(heatmap)
    finite = torch.isfinite(heatmap) if isinstance(heatmap, torch.Tensor) else np.isfinite(heatmap)
    if not bool(finite.all()):
        raise InvalidInput(
            "a heatmap with NaN or infinite values can't be scaled; look for the operation that "
            "produced them in the explanation's ledger"
        )
    if heatmap.ndim == 0 or 0 in heatmap.shape:
        return heatmap
    axes = tuple(range(0 if joint else 1, heatmap.ndim))
    magnitude = abs(heatmap)
    if not axes:  # a single number for each sample
        largest = magnitude
    elif isinstance(magnitude, torch.Tensor):
        largest = magnitude.amax(axes, keepdim=True)
    else:
        largest = magnitude.max(axes, keepdims=True)
    return heatmap / (largest + (largest == 0))


def brighten(heatmap: Array, gamma: float = 0.5) -> Array:
    """The heatmap with magnitudes raised to `gamma`: below 1, weak relevance is seen, too.

    Signs, zeros and the order of magnitudes stay, and so does the range [-1, 1]; ratios do not:
    say so beside the picture. Raises InvalidInput for a `gamma` outside of (0, 1].
    """
    if not 0 < gamma <= 1:
        raise InvalidInput(f"gamma lies in (0, 1]; it is {gamma}")
    heatmap = _floating(heatmap)
    sign = heatmap.sign() if isinstance(heatmap, torch.Tensor) else np.sign(heatmap)
    return sign * abs(heatmap) ** gamma


def smooth(heatmap: Array, sigma: float) -> Array:
    """`[..., H, W]` averaged over the neighbourhood, by a Gaussian of `sigma` pixels.

    For pictures laid over an image, where single pixels can't be seen; it takes the sum of
    relevance with it, but for what is cut off at the border. Raises InvalidInput for a `sigma`
    that is not positive.
    """
    if not sigma > 0:
        raise InvalidInput(f"sigma must be a positive number of pixels; it is {sigma}")
    heatmap = _floating(heatmap)
    values = torch.as_tensor(heatmap)
    offsets = torch.arange(-int(3 * sigma + 1), int(3 * sigma + 1) + 1, device=values.device)
    weights = torch.exp(-((offsets / sigma) ** 2) / 2).to(values.dtype)
    kernel = (weights / weights.sum()).reshape(1, 1, 1, -1)
    maps = values.reshape(-1, 1, *values.shape[-2:])
    blurred = torch.nn.functional.conv2d(maps, kernel, padding="same")
    blurred = torch.nn.functional.conv2d(blurred, kernel.mT, padding="same").reshape(values.shape)
    return blurred if isinstance(heatmap, torch.Tensor) else blurred.numpy()


def _floating(values: Array) -> Array:
    """The array itself, or float32 of anything that does not hold floating-point numbers."""
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else values.float()
    array = np.asarray(values)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
