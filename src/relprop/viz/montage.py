"""Many maps on one picture: a row for each sample, a column for each class (fig. 2.6, 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from relprop.errors import InvalidInput
from relprop.viz.arrays import as_heatmap, as_picture
from relprop.viz.colours import colourise
from relprop.viz.pictures import Picture, enlarge
from relprop.viz.pillow import image_module, shortened, text_width, to_pil, write

_GAP = 4  # pixels between pictures and around them
_TEXT = 14  # pixels, from baseline to baseline
_WIDEST = 220  # pixels that labels of rows may take


def montage(
    heatmaps: ArrayLike | torch.Tensor,
    *,
    images: Sequence[Any] | None = None,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    colour_map: str = "seismic",
    side: int = 96,
) -> Picture:
    """Heatmaps `[N, H, W]` or `[N, K, H, W]` in [-1, 1] as one picture, uint8 `[h, w, 3]`.

    A row for each sample, a column for each class; `images`, N of the maps' size, stand in front
    of them. `row_labels` are N, `column_labels` K texts. Maps smaller than `side` pixels are
    enlarged by a whole factor to about that. Raises InvalidInput where numbers do not match.
    """
    maps = as_heatmap(heatmaps)
    maps = maps[:, None] if maps.ndim == 3 else maps
    if maps.ndim != 4 or 0 in maps.shape:
        raise InvalidInput(f"heatmaps must be [N, H, W] or [N, K, H, W], not {list(maps.shape)}")
    rows = [list(row) for row in colourise(maps, colour_map)]
    if images is not None:
        if len(images) != len(rows):
            raise InvalidInput(f"{len(rows)} samples and {len(images)} images: give one each")
        for row, image in zip(rows, images, strict=True):
            row.insert(0, as_picture(image))
        column_labels = ["", *column_labels] if column_labels else ()
    return grid(rows, row_labels=row_labels, column_labels=column_labels, side=side)


def grid(
    rows: Sequence[Sequence[Picture]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    side: int = 96,
) -> Picture:
    """Pictures of one size, `[H, W, 3]` or `[H, W]`, in rows and columns with labels: `[h, w, 3]`.

    Raises InvalidInput where rows differ in length, pictures in size, or labels in number.
    """
    rows = [[as_picture(picture) for picture in row] for row in rows]
    shapes = {picture.shape for row in rows for picture in row}
    lengths = {len(row) for row in rows}
    if len(shapes) != 1 or len(lengths) != 1:
        raise InvalidInput(
            f"a grid needs rows of one length, found {sorted(lengths)}, and pictures of one size, "
            f"found {sorted(shapes)}"
        )
    (shape,), (columns,) = shapes, lengths
    for kind, labels, count in (("row", row_labels, len(rows)), ("column", column_labels, columns)):
        if labels and len(labels) != count:
            raise InvalidInput(f"there are {count} {kind}s and {len(labels)} {kind} labels")
    factor = max(1, round(side / max(shape[:2])))
    height, width = shape[0] * factor, shape[1] * factor
    left = min(_WIDEST, max((text_width(text, size=_TEXT) for text in row_labels), default=0))
    left += _GAP * (3 if left else 1)
    top = _GAP + (_TEXT + _GAP if column_labels else 0)
    size = left + columns * (width + _GAP), top + len(rows) * (height + _GAP)
    canvas = image_module().new("RGB", size, "white")
    for i, row in enumerate(rows):
        y = top + i * (height + _GAP)
        if row_labels:
            text = shortened(row_labels[i], size=_TEXT, width=_WIDEST)
            write(canvas, text, (left - 2 * _GAP, y + height // 2), size=_TEXT, anchor="rm")
        for j, picture in enumerate(row):
            canvas.paste(to_pil(enlarge(picture, factor)), (left + j * (width + _GAP), y))
    for j, label in enumerate(column_labels):
        text = shortened(label, size=_TEXT, width=width)
        middle = left + j * (width + _GAP) + width // 2
        write(canvas, text, (middle, top - _GAP), size=_TEXT, anchor="md")
    return np.asarray(canvas)
