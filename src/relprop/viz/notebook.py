"""What an explanation shows in a notebook: its first maps, and where relevance went."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from relprop.errors import RelpropError
from relprop.viz.montage import montage
from relprop.viz.pictures import png

_MOST = 8  # samples, and classes, that are shown


def explanation_html(explanation: Any) -> str:
    """HTML of an Explanation: a montage where it has maps of images, its conservation and notes.

    At most eight samples and eight targets are shown. Nothing is raised where no picture can be
    made (no images, no Pillow): the text then stands alone.
    """
    lines = [f"{explanation.method}, preset {explanation.preset}", explanation.conservation]
    text = "".join(f"<div>{escape(line)}</div>" for line in [*lines, *explanation.notes])
    picture = _picture(explanation)
    return f"{picture}{text}"


def _picture(explanation: Any) -> str:
    try:
        maps = np.asarray(torch.as_tensor(explanation.heatmap()))
    except RelpropError:  # maps of several inputs
        return ""
    if maps.ndim not in (3, 4) or 0 in maps.shape:
        return ""
    shown = maps[:_MOST] if maps.ndim == 3 else maps[:_MOST, :_MOST]
    try:
        content = png(montage(shown, side=128))
    except RelpropError:  # no Pillow
        return ""
    left_out = "" if shown.shape == maps.shape else f"<div>{_counted(shown, maps)}</div>"
    return f'<img alt="heatmaps" src="{data_uri(content)}">{left_out}'


def _counted(shown: NDArray[Any], maps: NDArray[Any]) -> str:
    text = f"the first {len(shown)} of {len(maps)} samples"
    return text if maps.ndim == 3 else f"{text}, {shown.shape[1]} of {maps.shape[1]} targets"


def data_uri(content: bytes) -> str:
    """A PNG file as an address that stands inside a page."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
