"""Six ways to make an image square (thesis 6.3.1), since networks take squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, UnknownName

SQUARES = ("copy", "mirror", "crop", "random-pixels", "random-colour", "colour")

Pixels = NDArray[np.uint8]


def make_square(
    image: Any,
    how: str,
    *,
    colour: tuple[int, ...] = (128, 128, 128),
    seed: int | Sequence[int] = 0,
) -> Pixels:
    """A uint8 image `[H, W, 3]` or `[H, W]`, or a PIL image, with its longer side as both.

    - "copy": what is missing repeats the outermost row or column
    - "mirror": it mirrors the image at its border
    - "random-pixels": every pixel of it is drawn, from `seed`
    - "random-colour": it has one colour, drawn from `seed`
    - "colour": it has the given `colour`
    - "crop": nothing is added; the middle of the longer side is cut out, to the shorter side

    The image stands in the middle. Raises UnknownName for another way, InvalidInput for anything
    but an image.
    """
    pixels = as_pixels(image)
    if how not in SQUARES:
        raise UnknownName("way to make an image square", how, SQUARES)
    height, width = pixels.shape[:2]
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    border = [(top, side - height - top), (left, side - width - left)]
    border += [(0, 0)] * (pixels.ndim - 2)
    if how in ("copy", "mirror"):
        return np.pad(pixels, border, mode="edge" if how == "copy" else "symmetric")
    square = _ground(how, (side, side, *pixels.shape[2:]), colour, seed)
    square[top : top + height, left : left + width] = pixels
    return square


def as_pixels(image: Any) -> Pixels:
    """uint8 `[H, W, 3]` or `[H, W]`. Raises InvalidInput for anything else."""
    if hasattr(image, "convert"):  # a PIL image, without importing PIL
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image)
    coloured = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (coloured or pixels.ndim == 2) or pixels.size == 0:
        raise InvalidInput(
            f"an image must be uint8 [H, W, 3] or [H, W] or a PIL image, not {pixels.dtype} "
            f"{list(pixels.shape)}"
        )
    return pixels


def _ground(
    how: str, shape: tuple[int, ...], colour: tuple[int, ...], seed: int | Sequence[int]
) -> Pixels:
    """A square of noise or of one colour."""
    drawn = np.random.default_rng(seed)
    if how == "random-pixels":
        return drawn.integers(0, 256, shape, dtype=np.uint8)
    if how == "random-colour":
        one = drawn.integers(0, 256, shape[2:], dtype=np.uint8)
        return np.broadcast_to(one, shape).copy()
    if not all(0 <= value <= 255 for value in colour) or len(colour) != 3:
        raise InvalidInput(f"colour is {colour!r}; it must be three numbers in 0..255")
    one = np.array(colour, np.uint8)
    if len(shape) == 2:
        one = np.round(one @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # ITU-R 601
    return np.broadcast_to(one, shape).copy()
