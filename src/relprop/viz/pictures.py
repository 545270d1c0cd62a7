"""Single pictures of relevance: coloured, laid over the image, as its alpha channel; PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InvalidInput, UnknownName
from relprop.viz.arrays import as_heatmap, as_picture
from relprop.viz.colours import colourise
from relprop.viz.pillow import to_pil

Heatmap = ArrayLike | torch.Tensor
Picture = NDArray[np.uint8]

_SIGNS = ("positive", "negative", "both")
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601


def enlarge(picture: Picture, factor: int) -> Picture:
    """Every pixel of `[H, W, ...]` as a square of factor x factor, so that no value is invented."""
    if not (isinstance(factor, int) and factor >= 1):
        raise InvalidInput(f"a picture is enlarged by a whole number, 1 or more; not by {factor!r}")
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay(
    heatmap: Heatmap, image: Any, *, colour_map: str = "seismic", opacity: float = 1.0
) -> Picture:
    """A heatmap `[H, W]` in [-1, 1] over the image in grey, uint8 `[H, W, 3]`.

    The more relevance at a position, the more opaque its colour, up to `opacity`; where there is
    none, the image is seen. Colours come from the outer half of each side of the colour map: the
    pale or dark ones around zero would only veil the image.
    Raises InvalidInput where image and heatmap differ in size.
    """
    if not 0 <= opacity <= 1:
        raise InvalidInput(f"opacity lies in 0..1; it is {opacity}")
    values, pixels = _matched(heatmap, image)
    colours = colourise((values + np.sign(values)) / 2, colour_map)
    grey = (pixels @ _LUMA)[..., None]
    alpha = opacity * np.abs(values)[..., None]
    return np.round(alpha * colours + (1 - alpha) * grey).astype(np.uint8)


def as_alpha(
    heatmap: Heatmap, image: Any, *, sign: Literal["positive", "negative", "both"] = "positive"
) -> Picture:
    """The image with relevance as its alpha channel, uint8 `[H, W, 4]` (thesis fig. D.1).

    Opaque where `[H, W]` in [-1, 1] is largest, transparent where it is zero or of the other
    sign. Raises UnknownName for another sign, InvalidInput where the sizes differ.
    """
    if sign not in _SIGNS:
        raise UnknownName("sign", sign, _SIGNS)
    values, pixels = _matched(heatmap, image)
    alpha = {"positive": values, "negative": -values, "both": np.abs(values)}[sign].clip(min=0)
    return np.dstack([pixels, np.round(255 * alpha).astype(np.uint8)])


def on_background(picture: Picture, colour: tuple[int, int, int] = (0, 0, 0)) -> Picture:
    """A picture with an alpha channel, uint8 `[H, W, 4]`, on a plain background: `[H, W, 3]`."""
    alpha = picture[..., 3:] / 255
    mixed = alpha * picture[..., :3] + (1 - alpha) * np.array(colour)
    return np.round(mixed).astype(np.uint8)


def png(picture: Picture) -> bytes:
    """The PNG file of uint8 `[H, W]`, `[H, W, 3]` or, with an alpha channel, `[H, W, 4]`.

    Raises InvalidInput for anything else, RelpropError where Pillow is missing.
    """
    array = np.asarray(picture)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise InvalidInput(
            f"a picture must be uint8 [H, W], [H, W, 3] or [H, W, 4], not {array.dtype} "
            f"{list(array.shape)}; relprop.viz.colourise makes one of a heatmap"
        )
    stream = io.BytesIO()
    to_pil(array).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def save_png(picture: Picture, path: str | Path) -> Path:
    """Writes a picture, as `png` takes it, and returns the path; folders are made.

    Raises what `png` raises, and InvalidInput for another ending than .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InvalidInput(f"{path.name} does not end in .png; pictures are written as PNG only")
    content = png(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _matched(heatmap: Heatmap, image: Any) -> tuple[NDArray[np.float64], Picture]:
    values, pixels = as_heatmap(heatmap), as_picture(image)
    if values.shape != pixels.shape[:2]:
        raise InvalidInput(
            f"the heatmap is {list(values.shape)} and the image {list(pixels.shape[:2])}; give "
            "the part of the image that the model saw: model.preprocessing.display(image)"
        )
    return values, pixels
