"""Pixels of binarised digits flipped in the order of their relevance (thesis fig. 3.4).

    python -m studies.pixel_flips

Three networks: LeNet-5, and the two dense ones that studies/train_mnist.py trains. Pixels are -1 or
1; one in a hundred is flipped in each of ten steps; curves are followed for the predicted class.
Writes table.csv and figure.png. The network was not trained on binarised digits, so the table gives
its accuracy on them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import relprop
from relprop.comparing import heatmaps_by
from relprop.data import load_mnist
from relprop.evaluation import Curve, region_perturbation
from studies.every_method import THESIS

# Network -> what does not apply to it: deconvolution changes ReLUs, and one has none.
NETWORKS: dict[str, set[str]] = {"lenet5": set(), "mlp-relu": set(), "mlp-tanh": {"deconvolution"}}
TRAINED = Path(".cache/mnist")
METHODS: dict[str, Any] = {
    **THESIS,
    "lrp:thesis": "lrp:thesis",
    "lrp:thesis, no Flat": relprop.Preset(
        [
            (relprop.where(kind="dense"), relprop.Epsilon(0.01)),
            (relprop.where(kind="convolution"), relprop.AlphaBeta(2, -1)),
        ],
        name="thesis without Flat",
    ),
    "lrp:epsilon-gamma-flat": "lrp:epsilon-gamma-flat",
    "lrp:epsilon-gamma-box": "lrp:epsilon-gamma-box",
    "lrp:alpha1beta0": "lrp:alpha1beta0",
    "gradient-x-input": "gradient-x-input",
    "sensitivity": "sensitivity",
    "deconvolution": "deconvolution",
    "random map": "random",
}
FLIPS: dict[str, Any] = {"region": 1, "repeats": 5, "per_step": 0.01, "steps": 10, "fill": "flip"}


def network(name: str) -> nn.Module:
    """With its trained weights, shipped or trained before."""
    weights = None if name == "lenet5" else TRAINED / f"{name}.safetensors"
    if weights is not None and not weights.exists():
        raise SystemExit(f"{weights} is missing: python -m studies.train_mnist {name}")
    return relprop.models.load(name, weights=weights)


def digits(model: nn.Module, number: int) -> tuple[Tensor, Tensor]:
    """The first test digits, -1 or 1 as most of the grey values say, and their labels."""
    prepare: Any = model.preprocessing
    images, labels = load_mnist("test")
    grey = torch.stack([prepare(image) for image in images[:number]])
    return torch.where(grey > 0, 1.0, -1.0), torch.as_tensor(labels[:number])


def curves(model: nn.Module, images: Tensor, *, without: set[str]) -> dict[str, Curve]:
    """Label -> curve, most relevant pixels first; "random" is the random order."""
    with torch.no_grad():
        classes = model(images).argmax(1)
    found = {
        label: region_perturbation(
            model, images, heatmaps_by(model, method)(images, classes), **FLIPS
        )
        for label, method in METHODS.items()
        if label not in without
    }
    found["random"] = region_perturbation(model, images, None, order="random", **FLIPS)
    return found


def row(name: str, label: str, curve: Curve, random: Curve) -> dict[str, Any]:
    """A line of the table: the area over the curve less the random order's, and flips."""
    over = curve.over(random)
    return {
        "network": name,
        "method": label,
        "over_random": over.value,
        "low": over.low,
        "high": over.high,
        "flipped": float(curve.flipped[-1]),
    }


def draw(found: dict[str, dict[str, Curve]], path: Path) -> None:
    """The mean score against flipped pixels, a panel for each network."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(4.2 * len(found), 4.2), squeeze=False)
    shades = dict(zip(METHODS, plt.get_cmap("tab20").colors, strict=False))
    for panel, (name, group) in zip(axes[0], found.items(), strict=True):
        for label, curve in group.items():
            scores = curve.scores.mean((0, 1))
            dashed = {"color": "black", "linestyle": "--"}  # the random order
            style = {"color": shades[label]} if label in shades else dashed
            panel.plot(range(len(scores)), scores, label=label, **style)
        panel.set(title=name, xlabel="flipped pixels, % of 1,024", ylabel="output of the class")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=8)
    figure.tight_layout(rect=(0, 0.17, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Flip, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/pixel-flips"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    found, rows = {}, []
    for name in NETWORKS:
        model = network(name)
        images, labels = digits(model, options.images)
        with torch.no_grad():
            right = float((model(images).argmax(1) == labels).float().mean())
        print(f"{name}: {right:.1%} of {len(images)} binarised digits are right")
        found[name] = curves(model, images, without=NETWORKS[name])
        random = found[name].pop("random")
        lines = [row(name, label, curve, random) for label, curve in found[name].items()]
        found[name]["random"] = random
        rows += sorted(lines, key=lambda line: -line["over_random"])
        for line in rows[-len(lines) :]:
            area = f"{line['over_random']:6.2f} ({line['low']:.2f} to {line['high']:.2f})"
            print(f"  {line['method']:24} {area}   {line['flipped']:.1%} flipped")
    with (options.out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(found, options.out / "figure.png")


if __name__ == "__main__":
    main()
