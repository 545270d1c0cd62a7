"""Colour maps: numbers in [-1, 1] -> colours. Tables between whose entries colours are mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InvalidInput, UnknownName
from relprop.viz.arrays import as_heatmap

ColourMap = Callable[[NDArray[np.float64]], NDArray[Any]]

# Where (in [-1, 1]) stands which colour (red, green, blue in 0..1). Zero is white or black in all
# but jet, whose zero is a light green.
_KNOTS: dict[str, list[tuple[float, tuple[float, float, float]]]] = {
    "seismic": [
        (-1.0, (0.0, 0.0, 0.3)),
        (-0.5, (0.0, 0.0, 1.0)),
        (0.0, (1.0, 1.0, 1.0)),
        (0.5, (1.0, 0.0, 0.0)),
        (1.0, (0.5, 0.0, 0.0)),
    ],
    "jet": [
        (-1.0, (0.0, 0.0, 0.5)),
        (-0.75, (0.0, 0.0, 1.0)),
        (-0.25, (0.0, 1.0, 1.0)),
        (0.25, (1.0, 1.0, 0.0)),
        (0.75, (1.0, 0.0, 0.0)),
        (1.0, (0.5, 0.0, 0.0)),
    ],
    "high-contrast": [
        (-1.0, (0.0, 1.0, 1.0)),
        (-0.5, (0.0, 0.0, 1.0)),
        (0.0, (0.0, 0.0, 0.0)),
        (0.25, (1.0, 0.0, 0.0)),
        (0.5, (1.0, 1.0, 0.0)),
        (1.0, (1.0, 1.0, 1.0)),
    ],
    # Blue and orange differ in hue for every common form of colour blindness, and both sides
    # darken alike, so that magnitude is seen without any hue.
    "blue-orange": [
        (-1.0, (0.02, 0.17, 0.38)),
        (-0.5, (0.23, 0.55, 0.78)),
        (0.0, (1.0, 1.0, 1.0)),
        (0.5, (0.90, 0.48, 0.08)),
        (1.0, (0.35, 0.14, 0.0)),
    ],
}


def _between(positions: ArrayLike, colours: ArrayLike) -> ColourMap:
    """The map that mixes colours `[L, 3]` linearly between their positions `[L]`."""
    at, table = np.asarray(positions, np.float64), np.asarray(colours, np.float64)
    return lambda heatmap: np.stack([np.interp(heatmap, at, c) for c in table.T], axis=-1)


_MAPS: dict[str, ColourMap] = {
    name: _between(*zip(*knots, strict=True)) for name, knots in _KNOTS.items()
}


def colour_map_names() -> list[str]:
    """The colour maps that `colourise` knows, your own included."""
    return list(_MAPS)


def colourise(heatmap: ArrayLike | torch.Tensor, colour_map: str = "seismic") -> NDArray[np.uint8]:
    """Colours of a heatmap in [-1, 1] of any shape: uint8 `[..., 3]`, red, green, blue.

    Raises UnknownName for another colour map, InvalidInput where values lie outside of [-1, 1].
    """
    if colour_map not in _MAPS:
        raise UnknownName("colour map", colour_map, _MAPS)
    return _as_bytes(_MAPS[colour_map](as_heatmap(heatmap)))


def register_colour_map(name: str, function_or_table: ColourMap | ArrayLike) -> None:
    """Adds a colour map of your own, under a name that `colourise` and the commands then know.

    A table `[L, 3]` holds the colours at L evenly spaced values from -1 to 1 and is mixed linearly
    between them; a function takes an array in [-1, 1] and returns one with an axis of three
    colours more. Colours are floats in 0..1 or uint8. Your own map may be registered anew, those
    that ship may not. Raises InvalidInput where this is not met.
    """
    if name in _KNOTS:
        raise InvalidInput(f"the colour map {name!r} ships with relprop; take another name")
    if callable(function_or_table):
        function = function_or_table
    else:
        table = np.asarray(function_or_table)
        if table.ndim != 2 or table.shape[1] != 3 or len(table) < 2:
            raise InvalidInput(
                f"the table of colour map {name!r} must be [L, 3] with L of 2 or more (from "
                f"matplotlib: matplotlib.colormaps[...](np.linspace(0, 1, 256))[:, :3]); it is "
                f"{list(table.shape)}"
            )
        function = _between(np.linspace(-1, 1, len(table)), _as_bytes(table, name) / 255)
    probe = np.linspace(-1, 1, 15).reshape(3, 5)
    found = np.shape(function(probe))
    if found != (3, 5, 3):
        raise InvalidInput(
            f"colour map {name!r} must turn [3, 5] values into [3, 5, 3] colours; it returned "
            f"{list(found)}"
        )
    _as_bytes(function(probe), name)
    _MAPS[name] = function


def _as_bytes(colours: ArrayLike, name: str = "") -> NDArray[np.uint8]:
    """Colours as uint8, from uint8 or from floats in 0..1."""
    values = np.asarray(colours)
    if values.dtype == np.uint8:
        return values
    fits = np.issubdtype(values.dtype, np.floating) and ((values >= 0) & (values <= 1)).all()
    if not fits:
        raise InvalidInput(
            f"colours of colour map {name!r} must be floats in 0..1 or uint8; they are "
            f"{values.dtype} from {values.min()} to {values.max()}"
        )
    return np.round(values * 255).astype(np.uint8)
