"""Six properties of heatmaps (thesis 3.3), each measured by a small experiment over methods.

    python -m studies.properties [--images N] [--paths N] [--out DIR]

What each figure means stands at the function that measures it, in studies/property_measures.py.
Finished pieces are kept: run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from relprop import models
from relprop.app.evaluating import read_data
from relprop.comparing import heatmaps_by
from relprop.errors import RelpropWarning
from studies import property_measures as measures
from studies.property_measures import SIDE, Effects, Figures, Heatmaps, Images, Setting

NETWORKS = {"cifar10-vgg": "cifar10", "lenet5": "mnist"}  # lenet5 has no max pooling: it sums
METHODS: dict[str, Any] = {
    "lrp:thesis": "lrp:thesis",
    "lrp:epsilon-gamma-flat": "lrp:epsilon-gamma-flat",
    "lrp:alpha1beta0": "lrp:alpha1beta0",
    "gradient-x-input": "gradient-x-input",
    "integrated-gradients": ("integrated-gradients", {"steps": 16}),
    "deeplift": "deeplift",
    "sensitivity": "sensitivity",
    "deconvolution": "deconvolution",
    "guided-backprop": "guided-backprop",
    "grad-cam": "grad-cam",
    "occlusion": ("occlusion", {"window": SIDE, "stride": SIDE}),
    "edges": "edges",
    "random": "random",
}


def measure(images: Images, effects: Effects, way: Heatmaps, setting: Setting) -> Figures:
    """All figures of one method."""
    maps = way(images.pixels, images.classes)
    return (
        measures.continuity(images, way, setting)
        | measures.specificity(images, maps, setting)
        | measures.signed_evidence(images, maps, setting)
        | measures.aggregation(maps, effects)
        | measures.relation_to_output(images, maps)
        | measures.global_or_local(maps, effects)
    )


def run(
    setting: Setting, out: Path, networks: Mapping[str, str] = NETWORKS
) -> list[dict[str, Any]]:
    """A row for each network and method; what is there from an earlier run is not done again."""
    rows = []
    for network, data in networks.items():
        model = models.load(network).to(memory_format=torch.channels_last)
        images = measures.prepare(model, read_data([data], model, limit=setting.images), setting)
        effects = None
        for label, method in METHODS.items():
            path = out / "pieces" / f"{network}-{label.replace(':', '-')}.json"
            piece = json.loads(path.read_text()) if path.exists() else {}
            if piece.get("setting") != asdict(setting):
                effects = effects or measures.effects_of(images, setting)
                with warnings.catch_warnings():  # absorbed relevance, steps of integration
                    warnings.simplefilter("ignore", RelpropWarning)
                    found = measure(images, effects, heatmaps_by(model, method), setting)
                piece = {"setting": asdict(setting), "row": row_of(network, label, found)}
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(piece))
            rows.append(piece["row"])
            print(line_of(rows[-1]), flush=True)
    return rows


def row_of(network: str, label: str, found: Figures) -> dict[str, Any]:
    """The figures, each with the bounds of its interval; None where there is none."""
    row: dict[str, Any] = {"network": network, "method": label}
    for name, figure in found.items():
        values = (None,) * 3 if figure is None else (figure.value, figure.low, figure.high)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row


def line_of(row: Mapping[str, Any]) -> str:
    """A row of the table as text."""
    names = [name for name in row if f"{name}_low" in row]
    shown = ["-" if row[name] is None else f"{row[name]:.2f}" for name in names]
    figures = ", ".join(f"{name} {figure}" for name, figure in zip(names, shown, strict=True))
    return f"{row['network']:12} {row['method']:23} {figures}"


PANELS = (
    ("continuity", "largest step of the map\nover that of the output", ("largest_step",)),
    ("image specificity", "rank correlation with maps\nof the same class", ("same_class",)),
    ("signed evidence", "rise of f (logits), the most negative\nregions removed (o), blurred (x)",
     ("raises", "raises_blurred")),
    ("aggregation", "rank correlation with removal: sum over\nmagnitude (o), over maximum (x)",
     ("over_magnitude", "over_maximum")),
    ("relation to the output", "correlation of the map's\nsum with f over images",
     ("sum_and_output",)),
    ("global against local",
     "rank correlation with removal, over\nsmall step (o), its magnitude (x)",
     ("over_step", "over_reaction")),
)  # fmt: skip


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel for each property, a colour for each network."""
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(row["network"] for row in rows))
    labels = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(10.5, 8), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True)
    for ax, (title, label, names) in zip(axes.flat, PANELS, strict=True):
        for row in rows:
            number = networks.index(row["network"])
            for name, marker in zip(names, "ox", strict=False):
                if row[name] is not None:
                    y = labels.index(row["method"]) + 0.3 * number - 0.15
                    ends = [row[f"{name}_low"], row[f"{name}_high"]]
                    ax.plot(ends, [y, y], color=f"C{number}", linewidth=1)
                    ax.plot(row[name], y, marker, color=f"C{number}", markersize=4)
        ax.set_title(title)
        ax.set_xlabel(label)
        ax.axvline(0, color="0.6", linewidth=0.8)
        ax.grid(axis="y", color="0.92")
    axes[0][0].set_yticks(range(len(labels)), labels)
    axes[0][0].invert_yaxis()
    handles = [
        axes[0][0].plot([], [], "o", color=f"C{k}", label=n)[0] for k, n in enumerate(networks)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(networks))
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure, print, write."""
    import pandas

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=Setting.images)
    parser.add_argument("--paths", type=int, default=Setting.paths)
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/properties"))
    options = parser.parse_args()
    rows = run(Setting(images=options.images, paths=options.paths), options.out)
    pandas.DataFrame(rows).to_csv(options.out / "table.csv", index=False)
    draw(rows, options.out / "figure.png")
    print(f"wrote {options.out / 'table.csv'} and figure.png")


if __name__ == "__main__":
    main()
