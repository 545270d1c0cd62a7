"""Composed images: an object on a texture, so that where the evidence lies is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from relprop.data.photographs import photograph
from relprop.errors import InvalidInput

Composition = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]

TEXTURES = ("brick", "grass", "gravel")


def composed(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    size: int = 32,
    object_size: int = 24,
    textures: Sequence[str] = TEXTURES,
    seed: int = 0,
) -> Composition:
    """Every image, scaled down and pasted at a random place on a random piece of a texture.

    - images: uint8 RGB `[N, 3, H, W]`, square, as `cifar10` gives them; labels: `[N]`
    - size: the side of the result; object_size: the side of what is pasted; pixels
    - textures: names of photographs; a texture and a place are drawn apart from the class, so
      nothing outside the pasted square speaks for or against it

    Returns uint8 `[N, 3, size, size]`, the labels, and masks, bool `[N, size, size]`: true in the
    pasted square, the object's own surroundings included. The same seed gives the same images,
    and the first of them do not depend on how many follow. Raises InvalidInput for images or sizes
    that do not fit, UnknownName for another texture, RelpropError where scikit-image is missing.
    """
    _check(images, labels, size, object_size)
    backgrounds = [photograph(name).transpose(2, 0, 1) for name in textures]
    smallest = min((min(texture.shape[1:]) for texture in backgrounds), default=0)
    if size > smallest:
        raise InvalidInput(f"size is {size}; with these textures it must be 1 to {smallest}")
    canvas = np.empty((len(images), 3, size, size), np.uint8)
    masks = np.zeros((len(images), size, size), bool)
    random = np.random.default_rng(seed)
    for index, thing in enumerate(_scaled(images, object_size)):
        texture = backgrounds[random.integers(len(backgrounds))]
        rows, columns = _window(texture.shape[1:], size, random)
        canvas[index] = texture[:, rows, columns]
        rows, columns = _window((size, size), object_size, random)
        canvas[index, :, rows, columns] = thing
        masks[index, rows, columns] = True
    return canvas, labels, masks


def _window(within: tuple[int, ...], side: int, random: np.random.Generator) -> tuple[slice, slice]:
    """A square of this side at a random place: its rows and its columns."""
    top, left = (int(random.integers(length - side + 1)) for length in within)
    return slice(top, top + side), slice(left, left + side)


def _scaled(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """`[N, 3, side, side]`; scaled down with antialiasing."""
    if images.shape[2:] == (side, side):
        return images
    values = torch.from_numpy(np.ascontiguousarray(images))  # in uint8: it rounds and clips itself
    scaled = functional.interpolate(values, (side, side), mode="bilinear", antialias=True)
    return scaled.numpy()


def _check(
    images: NDArray[np.uint8], labels: NDArray[np.int64], size: int, object_size: int
) -> None:
    square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
    if images.dtype != np.uint8 or not square:
        raise InvalidInput(
            f"images must be uint8 [N, 3, H, H], not {images.dtype} {list(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise InvalidInput(f"there are {len(images)} images and labels {list(labels.shape)}")
    if not 1 <= object_size <= size:
        raise InvalidInput(f"object_size is {object_size}; it must be 1 to size, {size}")
