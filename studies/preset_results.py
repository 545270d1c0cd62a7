"""What studies/default_presets.py measured of one kind of network, as rows, tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

import relprop
from relprop.evaluation.estimate import Estimate, estimate

FILLS = ("uniform", "blur")
OTHERS = {"sensitivity": "sensitivity", "gradient x input": "gradient-x-input", "random": "random"}

Gains = dict[str, dict[str, Tensor]]  # method -> fill -> gain of each image, in logits


def built_in() -> list[str]:
    """relprop's presets, each once: two of them are the same rules under two names."""
    found: dict[str, relprop.Preset] = {}
    for name, preset in relprop.presets().items():
        if preset not in found.values():
            found[name] = preset
    return [*found]


def rows(name: str, part: str, found: Gains, default: str) -> list[dict[str, Any]]:
    """A row for each method and fill: the gain, and what it is over the default's, in pairs."""
    return [
        {"kind": name, "part": part, "method": label, "fill": fill, "images": len(values)}
        | _shown("gain", estimate(values))
        | _shown("over_default", estimate(values - found[default][fill]))
        for label, by_fill in found.items()
        for fill, values in by_fill.items()
    ]


def _shown(name: str, figure: Estimate) -> dict[str, float]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


@dataclass(frozen=True)
class Result:
    """One kind of network: the rows of both parts, and who was chosen."""

    name: str
    default: str
    preset: str  # the best built-in one on the part to choose on
    candidate: str  # the best of the others there
    rows: list[dict[str, Any]]
    shared: str | None = None  # the best for all kinds with this default, there

    def held_back(self, label: str) -> list[dict[str, Any]]:
        """A method's rows of the images held back, one a fill."""
        return [row for row in self.rows if row["part"] == "held back" and row["method"] == label]

    def better(self, label: str) -> bool:
        """Held back, does it beat the default under every fill, the intervals clear of zero?"""
        return all(row["over_default_low"] > 0 for row in self.held_back(label))


def better_for_all(results: Sequence[Result], labels: Sequence[str]) -> str | None:
    """The method that beats the default on the part to choose on, for every kind and fill.

    With intervals clear of zero; of several, the one with the largest mean gain; None if there is
    none.
    """
    lines = [row for result in results for row in result.rows if row["part"] == "choice"]
    found = {label: [row for row in lines if row["method"] == label] for label in labels}
    clear = [label for label in labels if all(row["over_default_low"] > 0 for row in found[label])]
    return max(clear, key=lambda label: sum(row["gain"] for row in found[label]), default=None)


def table(result: Result, part: str) -> str:
    """The rows of one part as Markdown, the largest gain first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in result.rows:
        if row["part"] == part:
            found.setdefault(row["method"], []).append(row)
    ranked = sorted(found, key=lambda label: -sum(row["gain"] for row in found[label]))
    heads = [f"{fill}{what}" for fill in FILLS for what in ("", ", over the default's")]
    lines = [f"| {result.name} | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for label in ranked:
        cells = [_cell(row, name) for row in found[label] for name in ("gain", "over_default")]
        shown = f"**{label}** (default)" if label == result.default else label
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], name: str) -> str:
    if name == "over_default" and row["over_default"] == row["over_default_low"] == 0:
        return ""
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def overview(results: Sequence[Result]) -> str:
    """The gains of images held back, a column a kind, as Markdown.

    Bold where the difference to the default is above zero under every fill, the intervals too;
    in italics where it is below.
    """
    labels = [*built_in(), "best candidate", *OTHERS]
    heads = [f"{result.name} (default: `{result.default}`)" for result in results]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(results)]
    for label in labels:
        cells = [_gains_shown(result, label) for result in results]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _gains_shown(result: Result, label: str) -> str:
    found = result.held_back(result.candidate if label == "best candidate" else label)
    shown = " / ".join(f"{row['gain']:.2f}" for row in found)
    if all(row["over_default_low"] > 0 for row in found):
        return f"**{shown}**"
    return f"*{shown}*" if all(row["over_default_high"] < 0 for row in found) else shown


def verdicts(results: Sequence[Result]) -> str:
    """Who was chosen, and what the images held back say of it, as Markdown."""
    heads = [f"over the default, {fill}" for fill in FILLS]
    lines = [f"| kind | chosen | {' | '.join(heads)} | better? |", "|" + " --- |" * 5]
    for result in results:
        for label in dict.fromkeys((result.preset, result.candidate, result.shared)):
            if label is None:
                continue
            cells = [_interval(row) for row in result.held_back(label)]
            said = "yes" if result.better(label) else "no"
            lines.append(f"| {result.name} | {label} | {' | '.join(cells)} | {said} |")
    return "\n".join(lines)


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["over_default_low"], row["over_default_high"]
    return f"{row['over_default']:+.2f} ({low:+.2f} to {high:+.2f})"


def figure(results: Sequence[Result]) -> Any:
    """The gains of the images held back: a panel a kind, a row a method, a mark a fill."""
    from matplotlib.figure import Figure

    labels = [*built_in(), "best candidate", *OTHERS]
    drawn = Figure(figsize=(2 + 2.4 * len(results), 5.2), layout="constrained")
    axes = drawn.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for panel, result in zip(axes, results, strict=True):
        for number, fill in enumerate(FILLS):
            held = {
                "best candidate" if row["method"] == result.candidate else row["method"]: row
                for row in result.rows
                if row["part"] == "held back" and row["fill"] == fill
            }
            middle = np.array([held[label]["gain"] for label in labels])
            ends = np.array(
                [[held[label][f"gain_{e}"] for label in labels] for e in ("low", "high")]
            )
            places = np.arange(len(labels)) + 0.2 * number - 0.1
            panel.errorbar(
                *(middle, places), xerr=abs(ends - middle), fmt="os"[number], ms=4, label=fill
            )
        panel.axhspan(
            *(labels.index(result.default) + np.array([-0.5, 0.5])), color="0.9", zorder=0
        )
        panel.axvline(0, color="0.6", lw=0.8, zorder=0)
        panel.set_title(f"{result.name}\ncandidate: {result.candidate}", fontsize=8)
        panel.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8, loc="lower right")
    drawn.supxlabel(
        "symmetric relevance gain of images held back (logits); grey: the default", fontsize=9
    )
    return drawn
