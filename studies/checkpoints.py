"""Heatmap quality against accuracy over the epochs of one training (thesis fig. 3.7).

    python -m studies.checkpoints [--images 300] [--out DIR]

The checkpoints are those that studies/train_cifar10.py writes, one an epoch; where they are missing
they are trained first, which takes half an hour of one core. Accuracy is that on all 10,000 test
images. Logits grow while a network is trained, and every area over a curve of logits with them: so
the AOPC is also given as a share of the mean logit. Beside it, on fewer images, stand the AOPC of
probabilities, and that with blurred regions instead of uniform noise, since networks differ in how
much any noise disturbs them. What is finished is kept: run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import relprop
from relprop.data import cifar10
from relprop.evaluation.checkpoints import CheckpointComparison
from relprop.viz.figures import new_figure
from studies.train_cifar10 import Settings, train

NETWORK = "cifar10-vgg"
METHODS = {
    "lrp:epsilon-gamma-flat": "lrp:epsilon-gamma-flat",
    "lrp:thesis": "lrp:thesis",
    "lrp:alpha1beta0": "lrp:alpha1beta0",
    "sensitivity": "sensitivity",
}
SETTINGS: Mapping[str, Any] = {"region": 4, "steps": 16, "repeats": 1, "batch_size": 64}
KINDS: Mapping[str, Mapping[str, str]] = {
    "logit": {"output": "logit", "fill": "uniform"},
    "blurred": {"output": "logit", "fill": "blur"},
    "probability": {"output": "probability", "fill": "uniform"},
}
FEWER = {"blurred": 100, "probability": 100}  # images, for what stands beside
PANELS = (
    ("logit", "over_random", "AOPC over random, logit"),
    ("logit", "relative", "AOPC over random / mean logit"),
    ("probability", "over_random", "AOPC over random, probability"),
    ("blurred", "relative", "blurred: AOPC over random / mean logit"),
)


def trained(folder: Path) -> dict[str, float]:
    """Checkpoint file -> accuracy on 10,000 test images; trains the network if need be."""
    curve = folder / f"{NETWORK}.json"
    if not curve.exists() or not _complete(curve):
        train(Settings(), folder, None)
    points = json.loads(curve.read_text())["curve"]
    return {point["checkpoint"]: point["test_accuracy"] for point in points}


def _complete(curve: Path) -> bool:
    stored = json.loads(curve.read_text())
    files = [curve.parent / point["checkpoint"] for point in stored["curve"]]
    return len(files) == stored["settings"]["epochs"] and all(file.exists() for file in files)


def first_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of the test part as the network takes them, and their labels."""
    pixels, labels = cifar10("test")
    prepare = relprop.models.load(NETWORK, pretrained=False).preprocessing
    pixels = pixels[:count].transpose(0, 2, 3, 1)
    return torch.stack([prepare(image) for image in pixels]), torch.from_numpy(labels[:count])


def measure(
    accuracy: Mapping[str, float],
    folder: Path,
    images: int,
    *,
    resume: Path | None = None,
    **settings: Any,
) -> dict[str, CheckpointComparison]:
    """Kind of score and fill -> the checkpoints compared by it."""

    def load(file: str) -> nn.Module:
        model = relprop.models.load(NETWORK, weights=folder / file)
        return model.to(memory_format=torch.channels_last)

    inputs, labels = first_images(images)
    counts = {kind: min(images, FEWER.get(kind, images)) for kind in KINDS}
    return {
        kind: relprop.compare_checkpoints(
            list(accuracy),
            inputs[: counts[kind]],
            labels[: counts[kind]],
            METHODS,
            load=load,
            accuracy=accuracy,
            resume=None if resume is None else resume / kind,
            progress=resume is not None,
            **{**SETTINGS, **given, **settings},
        )
        for kind, given in KINDS.items()
    }


def correlations(found: Mapping[str, CheckpointComparison]) -> list[str]:
    """Spearman's correlation of accuracy with every measure, a line a method, as a table."""
    wanted = [*PANELS, ("logit", "score", "mean logit")]
    lines = [
        "| method | " + " | ".join(title for _, _, title in wanted) + " |",
        "| --- |" + " --- |" * len(wanted),
    ]
    for method in METHODS:
        cells = (str(found[kind].correlation(method, name)) for kind, name, _ in wanted)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def draw(found: Mapping[str, CheckpointComparison]) -> Any:
    """Each measure against accuracy, with 95 % intervals."""
    figure = new_figure(9, 6.8)
    for ax, (kind, measure, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for method in METHODS:
            rows = [row for row in found[kind].rows if row["method"] == method]
            middle = [row[measure] for row in rows]
            bounds = [
                [row[measure] - row[f"{measure}_low"] for row in rows],
                [row[f"{measure}_high"] - row[measure] for row in rows],
            ]
            accuracy = [100 * row["accuracy"] for row in rows]
            ax.errorbar(accuracy, middle, bounds, label=method, marker="o", ms=4, lw=1, capsize=2)
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set_xlabel("accuracy on 10,000 test images (%)")
        ax.set_title(title, fontsize=10)
        ax.set_ylabel("share of the mean logit" if measure == "relative" else kind)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(METHODS))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--checkpoints", type=Path, default=Path(".cache/cifar10"))
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/checkpoints"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    accuracy = trained(given.checkpoints)
    found = measure(accuracy, given.checkpoints, given.images, resume=given.out / "pieces")
    for kind, comparison in found.items():
        print(f"{kind}\n{comparison}\n")
    print("\n".join(correlations(found)))
    import pandas

    frames = [comparison.to_frame().assign(kind=name) for name, comparison in found.items()]
    pandas.concat(frames).to_csv(given.out / "table.csv", index=False)
    draw(found).savefig(given.out / "figure.png", dpi=85)
    print(f"wrote table.csv and figure.png to {given.out}")


if __name__ == "__main__":
    main()
