"""Images as local features read them: grey, float, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def as_grey(image: Any) -> NDArray[np.float64]:
    """An image as float64 `[H, W]`: uint8 divided by 255, RGB `[H, W, 3]` by its luma.

    Raises InvalidInput for other shapes, and for values that are not finite numbers.
    """
    found = np.asarray(image)
    if found.ndim not in (2, 3) or (found.ndim == 3 and found.shape[2] != 3) or 0 in found.shape:
        raise InvalidInput(
            f"an image of shape {list(found.shape)}; expected grey [H, W] or RGB [H, W, 3]"
        )
    if found.dtype.kind not in "uif":
        raise InvalidInput(f"an image of {found.dtype}; expected uint8, or floats in [0, 1]")
    if found.dtype.kind != "f" and found.dtype != np.uint8:
        raise InvalidInput(f"an image of {found.dtype}: give uint8, or floats in [0, 1]")
    grey = found @ _LUMA if found.ndim == 3 else found.astype(np.float64)
    if found.dtype == np.uint8:
        grey = grey / 255
    if not np.isfinite(grey).all():
        raise InvalidInput("an image contains NaN or infinite values")
    return np.asarray(grey, dtype=np.float64)


def check_images(images: Any) -> Sequence[Any]:
    """A list (or array) of images, not a single one; raises InvalidInput otherwise."""
    if isinstance(images, str) or not hasattr(images, "__len__") or len(images) == 0:
        raise InvalidInput("expected a list of images with one at least")
    first = np.ndim(images[0])
    if first < 2:
        raise InvalidInput(
            f"expected a list of images, each [H, W] or [H, W, 3]; the first has {first} axes "
            "(a single image goes into a list)"
        )
    found: Sequence[Any] = images
    return found
