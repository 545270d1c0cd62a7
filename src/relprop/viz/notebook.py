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
from relprop.viz.text import token_html

_MOST = 8  # samples, and classes, that are shown
_COLUMNS = 15  # of a table


def explanation_html(explanation: Any) -> str:
    """HTML of an Explanation: a montage where it has maps of images, its conservation and notes.

    At most eight samples and eight targets are shown. Nothing is raised where no picture can be
    made (no images, no Pillow): the text then stands alone.
    """
    lines = [f"{explanation.method}, preset {explanation.preset}", explanation.conservation]
    text = "".join(f"<div>{escape(line)}</div>" for line in [*lines, *explanation.notes])
    picture = _picture(explanation)
    return f"{picture or _words(explanation)}{text}"


def _words(explanation: Any) -> str:
    """Words of documents, or the columns of a table that say most, on their relevance's colours."""
    output = getattr(explanation, "output", None)
    if not isinstance(output, np.ndarray) or explanation.grouped:
        return ""
    relevance, names = explanation.relevance, explanation.names
    if isinstance(relevance, list):
        rows = relevance[:_MOST]
        texts = [] if names is None else names[:_MOST]
    else:
        table = relevance[:_MOST]
        rows = list(table.toarray() if hasattr(table, "toarray") else table)
        texts = [names or [f"x{d}" for d in range(relevance.shape[1])]] * len(rows)
        orders = [np.argsort(-np.abs(row), kind="stable")[:_COLUMNS] for row in rows]
        texts = [[text[d] for d in order] for text, order in zip(texts, orders, strict=True)]
        rows = [row[order] for row, order in zip(rows, orders, strict=True)]
    return "".join(token_html(*pair) for pair in zip(texts, rows, strict=False))


def _picture(explanation: Any) -> str:
    try:
        found = explanation.heatmap()
    except RelpropError:  # maps of several inputs, or no picture
        return ""
    if isinstance(found, list):  # pictures of several sizes
        return "".join(_shown(one[None] if one.ndim == 2 else one) for one in found[:_MOST])
    return _shown(np.asarray(torch.as_tensor(found)))


def _shown(maps: NDArray[Any]) -> str:
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
