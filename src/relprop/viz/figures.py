"""Figures of matplotlib: montages, signals, tabular rows. They are returned, not shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from relprop.errors import InvalidInput, RelpropError
from relprop.viz.arrays import as_heatmap, as_numbers, as_picture
from relprop.viz.colours import colourise
from relprop.viz.heatmap import scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = ArrayLike | torch.Tensor


def new_figure(width: float, height: float, *, fixed: bool = False) -> Figure:
    """An empty figure, in inches, without pyplot and its state; it has `savefig`.

    Axes make room for their labels unless they are placed by hand, with `fixed`.
    Raises RelpropError that names the extra where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RelpropError("figures need matplotlib: pip install 'relprop[viz]'") from error
    return Figure(figsize=(width, height), layout=None if fixed else "constrained")


def montage_figure(
    heatmaps: Numbers,
    *,
    images: Sequence[Any] | None = None,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    colour_map: str = "seismic",
) -> Figure:
    """Heatmaps `[N, H, W]` or `[N, K, H, W]` in [-1, 1] with a colour bar: see `montage`.

    `images`, N of them, stand in the first column. Raises InvalidInput where numbers don't match.
    """
    maps = as_heatmap(heatmaps)
    maps = maps[:, None] if maps.ndim == 3 else maps
    if maps.ndim != 4 or 0 in maps.shape:
        raise InvalidInput(f"heatmaps must be [N, H, W] or [N, K, H, W], not {list(maps.shape)}")
    samples, classes = maps.shape[:2]
    first = 0 if images is None else 1
    if images is not None and len(images) != samples:
        raise InvalidInput(f"{samples} samples and {len(images)} images: give one each")
    _check_labels("row", row_labels, samples)
    _check_labels("column", column_labels, classes)
    columns = classes + first
    margin = 0.09 * max(map(len, row_labels), default=0)
    figure = new_figure(1.3 * columns + 1.2 + margin, max(1.3 * samples + 0.3, 2.0))
    axes = figure.subplots(samples, columns, squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for i in range(samples):
        if images is not None:
            axes[i, 0].imshow(as_picture(images[i]), interpolation="nearest")
        for j in range(classes):
            axes[i, j + first].imshow(colourise(maps[i, j], colour_map), interpolation="nearest")
    for ax, label in zip(axes[:, 0], row_labels, strict=False):
        ax.set_ylabel(label, rotation=0, ha="right", va="center")
    for ax, label in zip(axes[0, first:], column_labels, strict=False):
        ax.set_title(label, fontsize="medium")
    _colour_bar(figure, axes, colour_map)
    return figure


def signal_figure(
    signals: Numbers,
    relevance: Numbers,
    *,
    labels: Sequence[str] = (),
    colour_map: str = "blue-orange",
) -> Figure:
    """Signals `[N, T]` or `[T]` as curves, coloured by their relevance of the same shape.

    One panel a signal, its relevance scaled by its largest magnitude; a stripe below the curve
    shows the same colours where the curve is flat. Raises InvalidInput where shapes differ.
    """
    values, shares = np.atleast_2d(as_numbers(signals)), np.atleast_2d(as_numbers(relevance))
    if values.shape != shares.shape or values.ndim != 2 or values.shape[1] < 2:
        raise InvalidInput(
            f"signals {list(values.shape)} and their relevance {list(shares.shape)} must both be "
            "[N, T] with T of 2 or more; give each channel a row of its own"
        )
    _check_labels("signal", labels, len(values))
    figure = new_figure(9, 2.2 * len(values))
    from matplotlib.collections import LineCollection

    axes = figure.subplots(len(values), 1, squeeze=False)
    for i, (ax, curve, heat) in enumerate(zip(axes[:, 0], values, scale(shares), strict=True)):
        points = np.stack([np.arange(len(curve)), curve], axis=1)
        segments = np.stack([points[:-1], points[1:]], axis=1)
        between = (heat[:-1] + heat[1:]) / 2
        ax.plot(curve, color="0.8", linewidth=4)  # so that white, no relevance, is seen
        ax.add_collection(
            LineCollection(list(segments), colors=_unit(between, colour_map), linewidth=2)
        )
        span = np.ptp(curve) or 1.0
        bottom = curve.min() - 0.25 * span
        ax.imshow(
            colourise(heat[None], colour_map),
            extent=(-0.5, len(curve) - 0.5, bottom, bottom + 0.1 * span),
            aspect="auto",
            interpolation="nearest",
        )
        ax.set(xlim=(-0.5, len(curve) - 0.5), ylim=(bottom, curve.max() + 0.1 * span))
        ax.set_title(labels[i] if labels else "", fontsize="medium")
    _colour_bar(figure, axes, colour_map)
    return figure


def bar_figure(
    relevance: Numbers,
    names: Sequence[str],
    *,
    values: Numbers | None = None,
    labels: Sequence[str] = (),
    largest: int = 15,
    colour_map: str = "blue-orange",
) -> Figure:
    """Tabular rows `[N, D]` or `[D]` as signed bars: one panel a row, one bar a named feature.

    In relevance's own units, the `largest` by magnitude on top and what the others sum to below
    them; `values` of the same shape are written beside the names. Raises InvalidInput where
    numbers don't match.
    """
    rows = np.atleast_2d(as_numbers(relevance))
    if rows.ndim != 2 or len(names) != rows.shape[1]:
        raise InvalidInput(f"relevance {list(rows.shape)} and {len(names)} names: give one each")
    given = None if values is None else np.atleast_2d(as_numbers(values))
    if given is not None and given.shape != rows.shape:
        raise InvalidInput(f"values are {list(given.shape)} and relevance {list(rows.shape)}")
    if largest < 1:
        raise InvalidInput(f"at least 1 bar is needed; largest is {largest}")
    _check_labels("row", labels, len(rows))
    bars = min(largest, rows.shape[1]) + (largest < rows.shape[1])
    figure = new_figure(7, len(rows) * (0.9 + 0.27 * bars))
    for i, ax in enumerate(figure.subplots(len(rows), 1, squeeze=False)[:, 0]):
        order = np.argsort(-np.abs(rows[i]), kind="stable")
        shown, rest = order[:largest], order[largest:]
        texts = [str(names[k]) for k in shown]
        if given is not None:
            texts = [f"{text} = {given[i, k]:.4g}" for text, k in zip(texts, shown, strict=True)]
        lengths = list(rows[i, shown])
        if len(rest):
            texts.append(f"{len(rest)} others")
            lengths.append(rows[i, rest].sum())
        colours = _unit(np.where(np.array(lengths) < 0, -0.5, 0.5), colour_map)
        ax.barh(range(len(texts)), lengths, color=colours)
        ax.set_yticks(range(len(texts)), texts)
        ax.invert_yaxis()
        ax.axvline(0, color="0.4", linewidth=0.8)
        ax.set_xlabel("relevance")
        ax.set_title(labels[i] if labels else "", fontsize="medium")
    return figure


def _check_labels(kind: str, labels: Sequence[str], count: int) -> None:
    if labels and len(labels) != count:
        raise InvalidInput(f"there are {count} {kind}s and {len(labels)} {kind} labels")


def _unit(heatmap: Numbers, colour_map: str) -> Any:
    """Colours as matplotlib takes them, in 0..1."""
    return colourise(heatmap, colour_map) / 255


def _colour_bar(figure: Figure, axes: Any, colour_map: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    table = ListedColormap(_unit(np.linspace(-1, 1, 255), colour_map))
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), table), ax=axes, pad=0.02)
    bar.set_label("relevance, scaled")
