"""What is done to an image before a network sees it, as data that can be stored and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from relprop.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from PIL.Image import Image

_CHOICES = {
    "resize": ("crop", "stretch", "none"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "channel_order": ("RGB", "BGR", "L"),
    "scale": (1, 255),
}


@dataclass(frozen=True)
class Preprocessing:
    """Turns an image, uint8 `[H, W, 3]` (RGB) or `[H, W]` or of PIL, into `[C, H, W]` float32.

    - size: (height, width) that the network sees, padding included
    - resize: "crop" scales the shorter side to size / crop and cuts out the centre; "stretch"
      ignores the aspect ratio; "none" refuses images of another size
    - pad: pixels added on every side after resizing, of grey value `fill`
    - scale: the value of white before `mean` is subtracted and the result divided by `std`
    - mean, std: one for each channel, in `channel_order`

    Raises InvalidInput for values out of range and UnknownName for unknown choices.
    """

    size: tuple[int, int]
    resize: Literal["crop", "stretch", "none"] = "crop"
    crop: float = 1.0
    pad: int = 0
    fill: int = 0
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channel_order: Literal["RGB", "BGR", "L"] = "RGB"
    scale: Literal[1, 255] = 1
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UnknownName(name, getattr(self, name), map(str, allowed))
        fits = _are_numbers((self.pad,), int, 1) and self.pad >= 0
        _check(fits, "pad", self.pad, "a number of pixels, 0 or more")
        fits = _are_numbers(self.size, int, 2) and min(self.size) > 2 * self.pad
        _check(fits, "size", self.size, "(height, width), integers, larger than twice the padding")
        fits = _are_numbers((self.crop,), (int, float), 1) and 0 < self.crop <= 1
        _check(fits, "crop", self.crop, "a number in (0, 1]")
        fits = _are_numbers((self.fill,), int, 1) and 0 <= self.fill <= 255
        _check(fits, "fill", self.fill, "a grey value in 0..255")
        for name in ("mean", "std"):
            given = getattr(self, name)
            fits = _are_numbers(given, (int, float), self.channels)
            _check(fits, name, given, f"{self.channels} numbers, one for each channel")
        _check(min(self.std) > 0, "std", self.std, "positive numbers")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; also takes what YAML gives, lists for tuples.

        Raises UnknownName for an unknown key, InvalidInput for a missing or unfit value.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownName("preprocessing option", name, known)
        if "size" not in values:
            raise InvalidInput("a preprocessing needs at least size: [height, width]")
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for YAML or JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def channels(self) -> int:
        """3, or 1 for grey images."""
        return len(self.channel_order)

    @property
    def low(self) -> tuple[float, ...]:
        """Black as the network sees it, one value for each channel."""
        return tuple((0 - m) / s for m, s in zip(self.mean, self.std, strict=True))

    @property
    def high(self) -> tuple[float, ...]:
        """White as the network sees it, one value for each channel."""
        return tuple((self.scale - m) / s for m, s in zip(self.mean, self.std, strict=True))

    def __call__(self, image: NDArray[np.uint8] | Image) -> torch.Tensor:
        """The network's input for one image, `[C, H, W]` float32."""
        pixels = self.display(image).astype(np.float32).reshape(*self.size, self.channels)
        if self.channel_order == "BGR":
            pixels = pixels[..., ::-1]
        mean, std = np.array([self.mean, self.std], np.float32)
        values = (pixels * np.float32(self.scale / 255) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def display(self, image: NDArray[np.uint8] | Image) -> NDArray[np.uint8]:
        """The part of the image that the network sees, uint8 `[H, W, 3]` RGB or `[H, W]` grey."""
        pixels = _resized(_as_pixels(image, self.channels), self)
        border = ((self.pad, self.pad),) * 2 + ((0, 0),) * (pixels.ndim - 2)
        return np.pad(pixels, border, constant_values=self.fill)


def _as_pixels(image: NDArray[np.uint8] | Image, channels: int) -> NDArray[np.uint8]:
    """uint8 `[H, W]` for one channel, `[H, W, 3]` for three."""
    if hasattr(image, "convert"):  # a PIL image, without importing PIL
        return np.asarray(image.convert("L" if channels == 1 else "RGB"))
    pixels = np.asarray(image)
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (colour or pixels.ndim == 2) or pixels.size == 0:
        raise InvalidInput(
            f"an image must be uint8 [H, W, 3] or [H, W] or a PIL image, "
            f"not {pixels.dtype} {list(pixels.shape)}"
        )
    if colour and channels == 1:
        return np.round(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # ITU-R 601
    return pixels if colour or channels == 1 else np.repeat(pixels[..., None], 3, axis=2)


def _resized(pixels: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.uint8]:
    """The pixels at the network's size less the padding."""
    height, width = (side - 2 * how.pad for side in how.size)
    found = pixels.shape[:2]
    if found == (height, width) and (how.crop == 1 or how.resize != "crop"):
        return pixels
    if how.resize == "none":
        raise InvalidInput(
            f"the image is {found[0]} x {found[1]}, the network takes {height} x {width}; "
            "scale it first, or set resize to crop or stretch"
        )
    try:
        from PIL import Image
    except ImportError as error:
        raise InvalidInput(
            f"the image is {found[0]} x {found[1]}, the network takes {height} x {width}, and "
            "scaling needs Pillow: pip install pillow"
        ) from error
    scaled = height, width
    if how.resize == "crop":
        factor = max(height / found[0], width / found[1]) / how.crop
        scaled = max(height, round(found[0] * factor)), max(width, round(found[1] * factor))
    method = Image.Resampling[how.interpolation.upper()]
    resized = np.asarray(Image.fromarray(pixels).resize(scaled[::-1], method))
    top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
    return resized[top : top + height, left : left + width]


def _are_numbers(values: object, kind: type | tuple[type, ...], count: int) -> bool:
    if not isinstance(values, tuple) or len(values) != count:
        return False
    return all(isinstance(v, kind) and not isinstance(v, bool) for v in values) and all(
        map(math.isfinite, values)
    )


def _check(holds: bool, name: str, given: object, expected: str) -> None:
    if not holds:
        raise InvalidInput(f"preprocessing {name} is {given!r}; it must be {expected}")
