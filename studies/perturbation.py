"""Region perturbation of MNIST and CIFAR-10 images (thesis 3.4, fig. 3.5).

    python -m studies.perturbation                          # every run of RUNS
    python -m studies.perturbation lenet5 --images 100

For each network: table.csv, curves and a report in a folder of `--out`, and the ranking on the
screen. Every method that relprop knows on LeNet-5 and on the CIFAR-10 network; the thesis's
settings and our presets on two dense networks (the one with tanh has no ReLU for deconvolution to
change) and on the CIFAR-10 network with local response normalisation. Regions of 4 x 4
pixels go two at a time, until half of the image is replaced. What is finished is kept: run again,
it goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import relprop
from relprop.app.evaluating import read_data, write_all
from relprop.evaluation.comparison import Comparison
from studies.every_method import every_method, few_methods

DRAWN = (
    *("lrp:thesis", "lrp:epsilon-gamma-flat", "lrp:alpha1beta0", "lrp AlphaBeta(2, -1)"),
    *("lrp Epsilon(0.01)", "deeplift reveal-cancel", "integrated-gradients", "occlusion"),
    *("guided-backprop", "deconvolution", "sensitivity", "random map"),
)
RIVALS = ("sensitivity", "deconvolution", "random map")
SETTINGS: dict[str, Any] = {"region": 4, "per_step": 2, "steps": 16}


@dataclass(frozen=True)
class Run:
    """What is compared on one network. `weights`, which `training` makes: None for those that are
    shipped.
    """

    data: str
    methods: Callable[[nn.Module, str], dict[str, Any]]
    fills: Sequence[str]
    repeats: int
    weights: Path | None = None
    training: str = ""


def _without(left_out: Sequence[str], *_: Any) -> dict[str, Any]:
    """The few methods that the thesis compares, without what a network has no place for."""
    return {label: method for label, method in few_methods().items() if label not in left_out}


RUNS = {
    "lenet5": Run("mnist", every_method, ("uniform", "blur", "mean"), 2),
    **{
        name: Run(
            *("mnist", partial(_without, left_out), ("uniform",), 2),
            weights=Path(f".cache/mnist/{name}.safetensors"),
            training=f"studies.train_mnist {name}",
        )
        for name, left_out in (("mlp-relu", ()), ("mlp-tanh", ("deconvolution",)))
    },
    "cifar10-vgg": Run("cifar10", every_method, ("uniform", "blur", "mean"), 1),
    "cifar10-vgg-lrn": Run(
        *("cifar10", partial(_without, ()), ("uniform",), 1),
        weights=Path(".cache/cifar10/cifar10-vgg-lrn.safetensors"),
        training="studies.train_cifar10 --lrn",
    ),
}


def compare(name: str, *, images: int, out: Path) -> Comparison:
    """All methods of a run on the first test images; written into `out`."""
    run = RUNS[name]
    if run.weights is not None and not run.weights.exists():
        raise SystemExit(f"{run.weights} is missing: python -m {run.training}")
    model = relprop.models.load(name, weights=run.weights)
    model = model.to(memory_format=torch.channels_last)  # faster on a processor
    pictures = read_data([run.data], model, limit=images)
    torch.manual_seed(0)
    comparison = relprop.evaluate(
        *(model, pictures, run.methods(model, run.data)),
        **SETTINGS,
        repeats=run.repeats,
        fills=run.fills,
        batch_size=128,
        resume=out / "pieces",
        progress=True,
    )
    for line in write_all(comparison, pictures, out, title=f"{name}: methods compared"):
        print(line)
    return comparison


def paired(comparison: Comparison) -> list[dict[str, Any]]:
    """LRP less what it should beat, image by image: AOPC with 95 % intervals, for every fill."""
    rows = []
    for fill in comparison.fills:
        for label in (name for name in comparison.labels if name.startswith("lrp")):
            row: dict[str, Any] = {"fill": fill, "method": label}
            for rival in (name for name in RIVALS if name in comparison.labels):
                ours, theirs = (comparison.curves[fill, "morf", name] for name in (label, rival))
                ahead = ours.over(theirs)
                row |= {rival: ahead.value, f"{rival} low": ahead.low, f"{rival} high": ahead.high}
            rows.append(row)
    return rows


def draw(comparison: Comparison, path: Path) -> None:
    """What a dozen methods take from the output beyond a random order: a panel for each fill."""
    import matplotlib.pyplot as plt

    shades = dict(zip(DRAWN, plt.get_cmap("tab20").colors, strict=False))
    fills = comparison.fills
    figure, axes = plt.subplots(1, len(fills), figsize=(4.4 * len(fills), 4.6), squeeze=False)
    for panel, fill in zip(axes[0], fills, strict=True):
        random = comparison.curves[fill, "random", "random"].drops.mean((0, 1))
        for label in (name for name in DRAWN if name in comparison.labels):
            drop = comparison.curves[fill, "morf", label].drops.mean((0, 1)) - random
            panel.plot(range(len(drop)), drop, label=label, color=shades[label])
        panel.axhline(0, color="0.5", linewidth=0.8)
        panel.set(title=f"replaced by: {fill}", xlabel="steps of two regions")
    axes[0, 0].set_ylabel("drop of the output, over a random order")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=6 if len(fills) > 2 else 3, fontsize=8)
    figure.tight_layout(rect=(0, 0.12 if len(fills) > 2 else 0.2, 1, 1))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[[], *RUNS], default=[])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/perturbation"))
    options = parser.parse_args()
    for name in options.networks or RUNS:
        print(name)
        comparison = compare(name, images=options.images, out=options.out / name)
        print(comparison)
        draw(comparison, options.out / name / "figure.png")
        rows = paired(comparison)
        with (options.out / name / "paired.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        print("LRP less its rivals, image by image")
        for row in rows:
            rivals = (name for name in RIVALS if name in row)
            figures = (
                f"{row[r]:.2f} ({row[f'{r} low']:.2f} to {row[f'{r} high']:.2f})" for r in rivals
            )
            print(f"  {row['fill']:8} {row['method']:24} {'  '.join(figures)}")


if __name__ == "__main__":
    main()
