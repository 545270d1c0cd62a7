"""Pillow, loaded when a picture is made, and the few things that pictures need from it."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relprop.errors import RelpropError

if TYPE_CHECKING:
    from PIL.Image import Image

INK = (32, 32, 32)


def image_module() -> ModuleType:
    """PIL.Image; RelpropError that names the extra where Pillow is missing."""
    try:
        from PIL import Image
    except ImportError as error:
        raise RelpropError("pictures need Pillow: pip install 'relprop[viz]'") from error
    return Image


def to_pil(picture: NDArray[np.uint8]) -> Image:
    """A PIL image of uint8 `[H, W]`, `[H, W, 3]` or `[H, W, 4]`."""
    return image_module().fromarray(np.ascontiguousarray(picture))


@cache
def _font(size: int) -> Any:
    image_module()  # for its error
    from PIL import ImageFont

    return ImageFont.load_default(size)


def text_width(text: str, *, size: int) -> int:
    """The width of a line of text in pixels; `size` is its height from baseline to baseline."""
    return int(np.ceil(_font(size).getlength(text))) if text else 0


def shortened(text: str, *, size: int, width: int) -> str:
    """The text, with its end replaced by dots where it would be wider than `width` pixels."""
    if text_width(text, size=size) <= width:
        return text
    kept = len(text)
    while kept and text_width(text[:kept].rstrip() + "...", size=size) > width:
        kept -= 1
    return text[:kept].rstrip() + "..."


def write(
    canvas: Image, text: str, position: tuple[int, int], *, size: int, anchor: str = "la"
) -> None:
    """Draws a line of text; `anchor` says which of its points `position` (x, y) is, as in PIL."""
    from PIL import ImageDraw

    ImageDraw.Draw(canvas).text(position, text, fill=INK, font=_font(size), anchor=anchor)
