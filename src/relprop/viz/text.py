"""Tokens of a text, coloured by their relevance: as HTML and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InvalidInput
from relprop.viz.arrays import as_numbers
from relprop.viz.colours import colourise
from relprop.viz.figures import new_figure
from relprop.viz.heatmap import scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_LINE = 88  # characters on a line of the figure


def token_html(
    tokens: Sequence[str],
    relevance: ArrayLike | torch.Tensor,
    *,
    colour_map: str = "blue-orange",
) -> str:
    """One paragraph of HTML: T tokens on the colours of their relevance `[T]`, escaped.

    Relevance is scaled by its largest magnitude; each token's own figure is its tooltip. A
    paragraph needs nothing else: styles are inline. Raises InvalidInput where numbers differ.
    """
    shares, colours = _coloured(tokens, relevance, colour_map)
    spans = [
        f'<span title="{share:.4g}" style="background:rgb({r},{g},{b});color:{_ink((r, g, b))};'
        f'padding:0 .15em;border-radius:.2em">{escape(token)}</span>'
        for token, share, (r, g, b) in zip(tokens, shares, colours.tolist(), strict=True)
    ]
    return f'<p style="line-height:1.8">{" ".join(spans)}</p>'


def token_figure(
    tokens: Sequence[str],
    relevance: ArrayLike | torch.Tensor,
    *,
    colour_map: str = "blue-orange",
) -> Figure:
    """The same as a figure of matplotlib, in lines of fixed width."""
    _, colours = _coloured(tokens, relevance, colour_map)
    lines, column = 1, 0
    places = []
    for token in tokens:
        if column and column + len(token) > _LINE:
            lines, column = lines + 1, 0
        places.append((column, lines - 1))
        column += len(token) + 2
    figure = new_figure(10, 0.3 * lines + 0.2, fixed=True)
    ax = figure.add_axes((0.01, 0, 0.98, 1))
    ax.set(xlim=(0, _LINE + 2), ylim=(lines - 0.4, -0.6))
    ax.axis("off")
    for token, (x, y), (r, g, b) in zip(tokens, places, colours.tolist(), strict=True):
        box = {"facecolor": (r / 255, g / 255, b / 255), "edgecolor": "none", "pad": 2}
        plain = token.replace("$", r"\$")  # matplotlib reads formulas between dollars
        ink = _ink((r, g, b))
        ax.text(x, y, plain, va="center", bbox=box, family="monospace", size=10.5, color=ink)
    return figure


def _coloured(
    tokens: Sequence[str], relevance: ArrayLike | torch.Tensor, colour_map: str
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    shares = as_numbers(relevance)
    if isinstance(tokens, str) or shares.shape != (len(tokens),):
        raise InvalidInput(
            f"{len(tokens)} tokens and relevance {list(shares.shape)}: give a list of texts and "
            "one number for each"
        )
    return shares, colourise(scale(shares, joint=True), colour_map)


def _ink(colour: tuple[int, int, int]) -> str:
    """Black or white, whichever is read more easily on the colour (WCAG's contrast)."""
    linear = (np.array(colour) / 255) ** 2.2
    return "black" if float(linear @ _LUMINANCE) > 0.18 else "white"
