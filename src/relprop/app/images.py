"""Image files from the command line, and what is done to them before the model sees them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.data import Preprocessing
from relprop.errors import InvalidInput

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The files, and for every folder the images in it, by name.

    Raises InvalidInput for paths that don't exist and for folders without an image.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES]
            if not inside:
                raise InvalidInput(f"no image in {path}; images end in {', '.join(SUFFIXES)}")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise InvalidInput(f"there is no image {path}")
    return files


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 `[H, W, 3]`, turned as its EXIF says; InvalidInput if it is none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path} can't be read as an image: {error}") from error


def preprocessing_from(
    model: object, *, file: Path | None = None, options: dict[str, Any] | None = None
) -> Preprocessing:
    """The model's own preprocessing or that in a YAML file, with single options put over it.

    Raises InvalidInput where there is none and no size is given, or the file is no mapping.
    """
    base = _from_file(file) if file is not None else _own(model)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if not base and "size" not in given:
        raise InvalidInput(
            "how images are to be prepared for this model is not known: give at least --size "
            "HEIGHT,WIDTH (and --mean, --std, --channel-order, --scale), or --preprocessing FILE"
        )
    merged = base | given
    if given.get("channel_order", base.get("channel_order")) != base.get("channel_order"):
        channels = len(merged["channel_order"])
        for name, neutral in (("mean", 0.0), ("std", 1.0)):
            if name not in given and len(base.get(name, ())) != channels:
                merged[name] = [neutral] * channels
    return Preprocessing.from_dict(merged)


def _own(model: object) -> dict[str, Any]:
    preprocessing = getattr(model, "preprocessing", None)
    return preprocessing.to_dict() if isinstance(preprocessing, Preprocessing) else {}


def _from_file(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} must hold options such as size: [224, 224]")
    return content
