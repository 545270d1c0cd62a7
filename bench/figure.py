"""The plot: ratios by network and preset, the floor marked, other tools beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import networks
from .report import find
from .store import Row, Store

COLOURS = {"relprop": "#0b6e99", "zennit": "#d1781f", "captum": "#8a8a8a"}
WIDTH = 3  # panels in a row


def draw(store: Store, path: Path) -> bool:
    """Write the picture; False where nothing was timed."""
    from matplotlib.figure import Figure

    times = store.of("times")
    panels = {name: rows for name in _names(times) if (rows := _usual(times, name))}
    if not panels:
        return False
    lines = -(-len(panels) // WIDTH)
    figure = Figure(figsize=(4.6 * min(WIDTH, len(panels)), 3.6 * lines), layout="constrained")
    grid = figure.subplots(lines, min(WIDTH, len(panels)), squeeze=False)
    for axes, (name, rows) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, name, rows, _usual(store.of("arithmetic"), name))
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    handles, labels = next(iter(figure.axes)).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=80)
    return True


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["network"] for row in rows))


def _usual(rows: list[Row], name: str) -> list[Row]:
    batch, side = networks.usual(name)
    return [row for row in rows if find([row], network=name, batch=batch, side=side)]


def _panel(axes: Any, name: str, rows: list[Row], counted: list[Row]) -> None:
    """One network: a place on the vertical axis for each preset, the times along the other."""
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    axes.axvline(1, color="#bbbbbb", linewidth=1, zorder=0)
    for place, (tool, colour) in enumerate(COLOURS.items()):
        measured = [
            (rules.index(r["rule"]) + 0.22 * (place - 1), r) for r in rows if r["tool"] == tool
        ]
        timed = [(at, row) for at, row in measured if "failure" not in row]
        middles = [row["middle"] for _, row in timed]
        spreads = [
            [row["middle"] - row["low"] for _, row in timed],
            [row["high"] - row["middle"] for _, row in timed],
        ]
        style = {"fmt": "o", "markersize": 5, "color": colour, "elinewidth": 2}
        axes.errorbar(middles, [at for at, _ in timed], xerr=spreads, label=tool, **style)
        for at, row in measured:
            if "failure" in row:
                axes.annotate(
                    f"{tool}: {row['failure']}", (1.05, at), color=colour, fontsize=6, va="center"
                )
    floors = [
        (rules.index(r["rule"]), r["floor"])
        for r in counted
        if r.get("floor") and r["rule"] in rules
    ]
    places = [at - 0.22 for at, _ in floors]
    style = {"marker": "|", "s": 160, "color": "black", "label": "floor", "zorder": 3}
    axes.scatter([least for _, least in floors], places, **style)
    axes.set_yticks(range(len(rules)), rules, fontsize=8)
    axes.set_ylim(len(rules) - 0.5, -0.5)
    axes.set_xlim(0, None)
    batch, side = networks.usual(name)
    axes.set_title(f"{name}, batch {batch}, {side} pixels", fontsize=9)
    axes.set_xlabel("times one gradient", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
