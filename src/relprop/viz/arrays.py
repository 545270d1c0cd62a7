"""What the pictures take: numpy arrays, tensors wherever they live, nested lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InvalidInput


def as_numbers(values: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    """The values as a numpy array of float64; a tensor is detached and brought to the CPU."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def as_heatmap(values: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    """The values as float64, all within [-1, 1]; InvalidInput where some are not."""
    heatmap = as_numbers(values)
    if heatmap.size and not np.abs(heatmap).max() <= 1 + 1e-6:  # NaN fails this, too
        raise InvalidInput(
            f"a heatmap must lie in [-1, 1]; this one reaches {np.abs(heatmap).max():g}. "
            "Scale it first: relprop.viz.scale(heatmap)"
        )
    return heatmap.clip(-1, 1)


def as_picture(image: Any) -> NDArray[np.uint8]:
    """An image as uint8 `[H, W, 3]`: from `[H, W]`, `[H, W, 3]` or a PIL image.

    Raises InvalidInput for other shapes and for numbers that are not uint8.
    """
    if hasattr(image, "convert"):  # a PIL image, without importing PIL
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.cpu() if isinstance(image, torch.Tensor) else image)
    grey, colour = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (grey or colour) or 0 in pixels.shape:
        raise InvalidInput(
            f"an image must be uint8 [H, W, 3] or [H, W] or a PIL image, not {pixels.dtype} "
            f"{list(pixels.shape)}; the display() of a model's preprocessing gives one"
        )
    return pixels if colour else np.repeat(pixels[..., None], 3, axis=2)
