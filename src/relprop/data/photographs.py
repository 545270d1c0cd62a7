"""Real photographs that lie inside scikit-image's wheel, read without a network."""

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relprop.errors import RelpropError, UnknownName

# Name -> file in skimage/data; only files that the wheel itself carries (0.24 to 0.26).
_FILES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}


def photograph_names() -> list[str]:
    """The photographs that `photograph` knows."""
    return sorted(_FILES)


def photograph(name: str) -> NDArray[np.uint8]:
    """A photograph by name, uint8 `[H, W, 3]` in RGB; grey ones have three equal channels.

    Raises UnknownName for another name, RelpropError where scikit-image or Pillow is missing.
    """
    if name not in _FILES:
        raise UnknownName("photograph", name, _FILES)
    path = _folder() / _FILES[name]
    if not path.exists():
        raise RelpropError(
            f"this scikit-image does not carry {path.name}: use one from 0.24 to 0.26"
        )
    try:
        from PIL import Image
    except ImportError as error:
        raise RelpropError("photographs need Pillow: pip install 'relprop[demo]'") from error
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _folder() -> Path:
    """scikit-image's data folder, found without importing scikit-image."""
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise RelpropError("photographs need scikit-image: pip install 'relprop[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"
