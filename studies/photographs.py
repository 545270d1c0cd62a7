"""Methods beside each other on photographs, for two ImageNet networks.

    python -m studies.photographs [squeezenet|efficientnet-lite0] [--images 14] [--out DIR]

For each network: heatmaps of the class it predicts, photographs by methods; the AOPC over the
random order under three fills, with regions of 9 x 9 pixels, of which 100 go, 20 in a step; and how
far the fills agree on the ranking. There are few photographs, and no data set stands behind them:
the intervals are wide, and what holds here need not hold elsewhere. What is finished is kept: run
again, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import relprop
from relprop import viz
from relprop.comparing import scores_of
from relprop.data import photograph, photograph_names
from relprop.evaluation import Estimate, rank_correlation, region_perturbation
from relprop.viz.figures import new_figure
from studies.region_sizes import heatmaps_of, images_of

NETWORKS = ("squeezenet", "efficientnet-lite0")
FILLS = ("uniform", "blur", "mean")
METHODS = {
    "LRP: thesis": "lrp:thesis",
    "LRP: eps-gamma-flat": "lrp:epsilon-gamma-flat",
    "LRP: alpha1beta0": "lrp:alpha1beta0",
    "gradient x input": "gradient-x-input",
    "sensitivity": "sensitivity",
    "guided backprop": "guided-backprop",
    "deconvolution": "deconvolution",
    "Grad-CAM": "grad-cam",
}
REGIONS = {"region": 9, "steps": 5, "per_step": 20}  # 100 of them
BATCH = 16


@dataclass(frozen=True)
class Found:
    """What one network's methods gave: heatmaps `[N, H, W]`, and the AOPC over random by fill.

    `pictures` is what the network sees of the photographs, uint8 `[H, W, 3]`.
    """

    pictures: Sequence[NDArray[np.uint8]]
    predicted: Sequence[str]
    heatmaps: Mapping[str, Tensor]
    over_random: Mapping[str, Mapping[str, Estimate]]

    def agreement(self) -> dict[tuple[str, str], float]:
        """Two fills -> Spearman's correlation of their rankings of methods."""
        values = {
            fill: {method: known.value for method, known in by_method.items()}
            for fill, by_method in self.over_random.items()
        }
        table = rank_correlation(values)
        fills = list(values)
        return {(a, b): table[a][b] for k, a in enumerate(fills) for b in fills[k + 1 :]}


def study(network: str, count: int, out: Path | None = None, **settings: Any) -> Found:
    """All methods and fills on the first photographs."""
    model = relprop.models.load(network).to(memory_format=torch.channels_last)
    images = images_of("photographs", model, count)
    scores = scores_of(model, images[:1])
    classes = torch.cat([scores(batch).argmax(1) for batch in images.split(BATCH)])
    maps = {m: heatmaps_of(model, way, images, classes, BATCH) for m, way in METHODS.items()}
    over: dict[str, dict[str, Estimate]] = {}
    for fill in FILLS:
        curves = {
            method: region_perturbation(
                *(scores, images, maps.get(method)),
                order="morf" if method in maps else "random",
                fill=fill,
                repeats=1,
                target=classes,
                batch_size=BATCH,
                resume=None if out is None else out / "pieces" / f"{network}-{fill}-{place}",
                **{**REGIONS, **settings},
            )
            for place, method in enumerate(["random", *maps])
        }
        over[fill] = {method: curves[method].over(curves["random"]) for method in maps}
        for method, known in over[fill].items():
            print(f"{network}, {fill}: {method} {known}", flush=True)
    prepare: Any = model.preprocessing
    pictures = [prepare.display(photograph(name)) for name in photograph_names()[:count]]
    return Found(pictures, [class_name(model, int(c)) for c in classes], maps, over)


def class_name(model: nn.Module, number: int) -> str:
    """A class in words, its first name only."""
    classes: Any = model.classes
    return str(classes[number]).split(",")[0]


def as_table(found: Found) -> list[str]:
    """Methods by fills, as a table in Markdown."""
    lines = ["| method | " + " | ".join(FILLS) + " |", "| --- |" + " --- |" * len(FILLS)]
    for method in METHODS:
        cells = (found.over_random[fill][method] for fill in FILLS)
        shown = (f"{each.value:.3g} ({each.low:.3g} to {each.high:.3g})" for each in cells)
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return lines


def draw_areas(results: Mapping[str, Found]) -> Any:
    """A panel for each network and fill: the AOPC over random with 95 % intervals."""
    figure = new_figure(10, 0.4 + 2.5 * len(results))
    panels = figure.subplots(len(results), len(FILLS), sharey=True, squeeze=False)
    names = [*METHODS][::-1]
    for axes, (network, found) in zip(panels, results.items(), strict=True):
        for ax, fill in zip(axes, FILLS, strict=True):
            known = [found.over_random[fill][name] for name in names]
            middle = np.array([each.value for each in known])
            low, high = np.array([each.interval for each in known]).T
            ends = np.stack([middle - low, high - middle])
            ax.errorbar(middle, range(len(names)), xerr=ends, fmt="o", ms=4)
            ax.axvline(0, color="0.4", linewidth=0.8)
            ax.set_title(f"{network}: {fill}", fontsize=9)
            ax.set_xlabel("AOPC over random (logit)", fontsize=8)
            ax.tick_params(labelsize=8)
        axes[0].set_yticks(range(len(names)), names)
    return figure


def agreed(results: Mapping[str, Found]) -> list[int]:
    """The photographs for which all networks predict a class of the same name."""
    predicted = zip(*(found.predicted for found in results.values()), strict=True)
    return [place for place, names in enumerate(predicted) if len(set(names)) == 1]


def draw_heatmaps(results: Mapping[str, Found], photographs: Sequence[int]) -> Any:
    """A row for each photograph and network: what it sees, and the heatmap by every method."""
    rows = [(place, name) for place in photographs for name in results]
    figure = new_figure(9, 1.02 * len(rows) + 0.2)
    axes = figure.subplots(len(rows), 1 + len(METHODS), squeeze=False)
    for (place, name), (first, *others) in zip(rows, axes, strict=True):
        found = results[name]
        first.imshow(found.pictures[place])
        first.set_ylabel(f"{name}\n{found.predicted[place]}", fontsize=6)
        for ax, maps in zip(others, found.heatmaps.values(), strict=True):
            heatmap = viz.scale(maps[place : place + 1].float())[0]
            ax.imshow(viz.colourise(heatmap.numpy()))
    for ax, title in zip(axes[0], ["photograph", *METHODS], strict=True):
        ax.set_title(title.replace(": ", "\n"), fontsize=7)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", choices=NETWORKS, help="by default both")
    parser.add_argument("--images", type=int, default=len(photograph_names()))
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/photographs"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [given.network] if given.network else NETWORKS
    results = {name: study(name, given.images, given.out) for name in chosen}
    records = []
    for name, found in results.items():
        named = zip(photograph_names()[: given.images], found.predicted, strict=True)
        print(f"\n{name}: " + ", ".join(map(": ".join, named)))
        print("\n".join(as_table(found)))
        for pair, value in found.agreement().items():
            print(f"rank correlation of {' and '.join(pair)}: {value:.2f}")
        for fill, by_method in found.over_random.items():
            records += [
                {"network": name, "fill": fill, "method": method, "images": given.images}
                | {"over_random": known.value, "low": known.low, "high": known.high}
                for method, known in by_method.items()
            ]
        every = draw_heatmaps({name: found}, range(len(found.predicted)))
        every.savefig(given.out / f"heatmaps-{name}.png", dpi=150)
    import pandas

    pandas.DataFrame(records).to_csv(given.out / "table.csv", index=False)
    draw_areas(results).savefig(given.out / "figure.png", dpi=100)
    if same := agreed(results):
        # As JPEG: to PNG heatmaps are noise, and four times as large.
        beside = draw_heatmaps(results, same)
        beside.savefig(given.out / "heatmaps.jpg", dpi=90, pil_kwargs={"quality": 75})
    print(f"wrote table.csv, figure.png and heatmaps to {given.out}")


if __name__ == "__main__":
    main()
