"""Relevance -> pictures: heatmaps, colour maps, montages, figures. Takes arrays of any origin."""

from relprop.viz.colours import colour_map_names, colourise, register_colour_map
from relprop.viz.figures import bar_figure, montage_figure, signal_figure
from relprop.viz.heatmap import brighten, pool_channels, scale, smooth
from relprop.viz.montage import grid, montage
from relprop.viz.pictures import as_alpha, enlarge, on_background, overlay, png, save_png
from relprop.viz.text import token_figure, token_html
from relprop.viz.tiles import merge_tiles, tile_positions

__all__ = [
    "as_alpha",
    "bar_figure",
    "brighten",
    "colour_map_names",
    "colourise",
    "enlarge",
    "grid",
    "merge_tiles",
    "montage",
    "montage_figure",
    "on_background",
    "overlay",
    "png",
    "pool_channels",
    "register_colour_map",
    "save_png",
    "scale",
    "signal_figure",
    "smooth",
    "tile_positions",
    "token_figure",
    "token_html",
]
