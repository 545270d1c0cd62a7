"""Curves as a figure, in the manner of the thesis's fig. 3.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from .curve import Curve, check_comparable
from .estimate import intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = 10  # that matplotlib draws lines in, before it begins again
LEGEND_LINE = 0.22  # inches
STYLES = ("-", "--", ":", "-.")


def curve_figure(curves: Mapping[str, Curve], *, over: Curve | None = None) -> Figure:
    """The mean drop f(x_0) - f(x_k) after every step, with its 95 % band; one line a curve.

    With `over`, the random order's curve for example, what it drops is taken off, image by image.
    Raises InvalidInput without curves and where they do not belong together, RelpropError where
    matplotlib is missing.
    """
    from ..viz.figures import new_figure

    if not curves:
        raise InvalidInput("there is nothing to draw: no curve is given")
    figure = new_figure(7.5, max(4, LEGEND_LINE * (len(curves) + 1)))
    ax = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        drops = curve.drops.mean(0)
        if over is not None:
            check_comparable(curve, over)
            drops = drops - over.drops.mean(0)
        low, high = intervals(drops)
        steps = range(drops.shape[1])
        ax.fill_between(steps, low.numpy(), high.numpy(), alpha=0.2, linewidth=0)
        style = STYLES[number // COLOURS % len(STYLES)]
        ax.plot(steps, drops.mean(0).numpy(), label=name, linestyle=style)
    ax.axhline(0, color="0.4", linewidth=0.8)
    ax.set_xlabel("steps")
    ax.set_ylabel("drop of the score" if over is None else "drop of the score, over the baseline")
    figure.legend(loc="outside right upper")
    return figure
