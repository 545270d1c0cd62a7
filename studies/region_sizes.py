"""Does the ranking of methods depend on the size of the regions (thesis, appendix B.1)?

    python -m studies.region_sizes [photographs|cifar10] [--out DIR]

The AOPC of each method less that of sensitivity (the gradient's l2 norm over channels), image by
image, for regions of several sizes. As in B.1 every size gets the same number of regions, so that
small ones cover little of an image: 100 of them, 20 in a step, on photographs (SqueezeNet; sides
of 1, 3, 5 and 19 pixels); 30, five in a step, on CIFAR-10, where a side of 5 leaves no more than 36
regions and one of 19 a single one. What is finished is kept: run again, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import relprop
from relprop.app.evaluating import read_data
from relprop.comparing import heatmaps_by, scores_of
from relprop.data import photograph, photograph_names
from relprop.evaluation import Estimate, region_perturbation
from relprop.viz.figures import new_figure

BASE = "sensitivity"
METHODS: Mapping[str, Any] = {
    "lrp Epsilon(1)": relprop.Epsilon(1),
    "lrp Epsilon(100)": relprop.Epsilon(100),
    "lrp AlphaBeta(2, -1)": relprop.AlphaBeta(2, -1),
    "lrp:thesis": "lrp:thesis",
    "lrp:epsilon-gamma-flat": "lrp:epsilon-gamma-flat",
    "lrp:alpha1beta0": "lrp:alpha1beta0",
    "deconvolution": "deconvolution",
}
RANDOM = "random order"


@dataclass(frozen=True)
class Run:
    """What is perturbed: `regions` of every side go, `per_step` of them in a step."""

    network: str
    images: int
    sides: Sequence[int]
    regions: int
    per_step: int
    batch: int


RUNS = {
    "photographs": Run("squeezenet", len(photograph_names()), (1, 3, 5, 19), 100, 20, 16),
    "cifar10": Run("cifar10-vgg", 200, (1, 2, 3, 5), 30, 5, 64),
}


def images_of(data: str, model: nn.Module, count: int) -> Tensor:
    """The first images `[N, 3, H, W]`, as the model takes them."""
    if data == "cifar10":
        return read_data([data], model, limit=count)
    prepare: Any = model.preprocessing
    return torch.stack([prepare(photograph(name)) for name in photograph_names()[:count]])


def heatmaps_of(
    model: nn.Module, method: Any, images: Tensor, classes: Tensor, batch: int
) -> Tensor:
    """`[N, H, W]`, a batch at a time."""
    way = heatmaps_by(model, method)
    pairs = zip(images.split(batch), classes.split(batch), strict=True)
    return torch.cat([way(*pair) for pair in pairs])


def compare(data: str, run: Run, out: Path | None = None) -> dict[tuple[int, str], Estimate]:
    """(side, method) -> AOPC less that of sensitivity, on logits, with uniform noise."""
    model = relprop.models.load(run.network).to(memory_format=torch.channels_last)
    images = images_of(data, model, run.images)
    scores = scores_of(model, images[:1])
    classes = torch.cat([scores(batch).argmax(1) for batch in images.split(run.batch)])
    ways = {BASE: BASE, **METHODS}
    maps = {m: heatmaps_of(model, way, images, classes, run.batch) for m, way in ways.items()}
    found = {}
    for side in run.sides:
        curves = {
            method: region_perturbation(
                *(scores, images, maps.get(method)),
                region=side,
                steps=-(-run.regions // run.per_step),
                per_step=run.per_step,
                repeats=1,
                order="morf" if method in maps else "random",
                target=classes,
                batch_size=run.batch,
                resume=None if out is None else out / "pieces" / f"{data}-{side}-{place:02d}",
            )
            for place, method in enumerate([*ways, RANDOM])
        }
        for method in (*METHODS, RANDOM):
            found[side, method] = curves[method].over(curves[BASE])
            print(f"{data}, side {side}: {method} {found[side, method]}", flush=True)
    return found


def records(data: str, found: Mapping[tuple[int, str], Estimate]) -> list[dict[str, Any]]:
    """A row for each side and method."""
    return [
        {"data": data, "side": side, "method": method, "images": len(known.per_image)}
        | {"over_sensitivity": known.value, "low": known.low, "high": known.high}
        for (side, method), known in found.items()
    ]


def as_table(found: Mapping[tuple[int, str], Estimate]) -> list[str]:
    """Methods by sides, as a table in Markdown."""
    sides = list(dict.fromkeys(side for side, _ in found))
    lines = ["| method | " + " | ".join(f"side {side}" for side in sides) + " |"]
    lines.append("| --- |" + " --- |" * len(sides))
    for method in (*METHODS, RANDOM):
        cells = (found[side, method] for side in sides)
        shown = (f"{each.value:.3g} ({each.low:.3g} to {each.high:.3g})" for each in cells)
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return lines


def draw(results: Mapping[str, Mapping[tuple[int, str], Estimate]]) -> Any:
    """A row for each data set, a panel for each side, methods one under another."""
    figure = new_figure(11, 0.4 + 2.7 * len(results))
    names = [*METHODS, RANDOM][::-1]
    for axes, (data, found) in zip(
        figure.subplots(len(results), 4, sharey=True, squeeze=False), results.items(), strict=True
    ):
        for ax, side in zip(axes, RUNS[data].sides, strict=True):
            known = [found[side, name] for name in names]
            middle = np.array([each.value for each in known])
            low, high = np.array([each.interval for each in known]).T
            colours = [f"C{0 if name.startswith('lrp') else 1}" for name in names]
            places = range(len(names))
            ax.errorbar(
                middle, places, xerr=np.stack([middle - low, high - middle]), fmt="none", color="C7"
            )
            ax.scatter(middle, places, c=colours, s=18, zorder=3)
            ax.axvline(0, color="0.4", linewidth=0.8)
            ax.set_title(f"{data}: side {side}", fontsize=9)
            ax.set_xlabel("AOPC less sensitivity's (logit)", fontsize=8)
            ax.tick_params(labelsize=8)
        axes[0].set_yticks(range(len(names)), names)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", choices=RUNS, help="by default both")
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/region_sizes"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [given.data] if given.data else [*RUNS]
    results = {data: compare(data, RUNS[data], given.out) for data in chosen}
    for data, found in results.items():
        print(f"\n{data}")
        print("\n".join(as_table(found)))
    import pandas

    rows = [row for data, found in results.items() for row in records(data, found)]
    pandas.DataFrame(rows).to_csv(given.out / "table.csv", index=False)
    draw(results).savefig(given.out / "figure.png", dpi=100)
    print(f"wrote table.csv and figure.png to {given.out}")


if __name__ == "__main__":
    main()
