"""Does relevance lie where the evidence is known to be? Objects of CIFAR-10 on textures.

    python -m studies.ground_truth [--images 300] [--out DIR]

Test images of CIFAR-10 are scaled to 20 x 20 pixels and pasted at a random place on a texture that
is drawn apart from the class (relprop.data.composed). Only images that the network classifies
rightly are kept: it must have used the object. For every method, the share of positive relevance
inside the square (relevance mass) and the share of the most relevant pixels that are inside
(relevance rank accuracy). The square's share of the image is what a map without a preference gets.
What is finished is kept: run again, it goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import relprop
from relprop.comparing import heatmaps_by
from relprop.data import cifar10, composed
from relprop.evaluation import Estimate, estimate, mass_inside, rank_accuracy
from relprop.methods import METHODS
from relprop.methods.registry import QUESTIONS
from relprop.viz.figures import new_figure
from studies.every_method import LEFT_OUT, every_method

NETWORK = "cifar10-vgg"
OBJECT = 20  # pixels of 32
BATCH = 50
FEWER = 20  # images for the methods below, each of which takes hundreds of passes an image
SLOW = ("kernel-shap", "lime", "meaningful-perturbation", "occlusion", "prediction-difference")
SAME = ("alpha2beta1", "thesis-ch4")  # presets: AlphaBeta(2, -1) under other names
MEASURES = {"mass": "relevance mass inside", "rank": "relevance rank accuracy"}


@dataclass(frozen=True)
class Composed:
    """Images `[N, 3, 32, 32]` as the network takes them, their classes, and the true masks.

    `accuracy` is the network's on all that were tried, of which these are the first it got right.
    """

    images: Tensor
    classes: Tensor
    masks: Tensor
    accuracy: float

    def first(self, count: int) -> Composed:
        """The first of them."""
        few = (self.images[:count], self.classes[:count], self.masks[:count])
        return Composed(*few, self.accuracy)


@dataclass(frozen=True)
class Row:
    """What was measured of one method; an image without a figure (no positive relevance) is NaN."""

    method: str
    question: str
    mass: Tensor
    rank: Tensor
    seconds: float

    def estimate(self, measure: str) -> Estimate:
        """The mean over images that have a figure, with its 95 % interval."""
        values: Tensor = getattr(self, measure)
        return estimate(values[~values.isnan()])

    @property
    def without(self) -> int:
        """Images whose map has nothing positive."""
        return int(self.mass.isnan().sum())

    def record(self) -> dict[str, Any]:
        """The row as a table has it."""
        found: dict[str, Any] = {"method": self.method, "question": self.question}
        found |= {"images": len(self.mass), "without_positive": self.without}
        for name in MEASURES:
            known = self.estimate(name)
            found |= {name: known.value, f"{name}_low": known.low, f"{name}_high": known.high}
        return found | {"ms_an_image": 1e3 * self.seconds}


def composed_images(model: nn.Module, count: int) -> Composed:
    """The first `count` composed test images that the network classifies rightly."""
    prepare: Any = model.preprocessing
    pixels, labels = cifar10("test")
    tried = min(len(pixels), 3 * count)
    pixels, labels, masks = composed(pixels[:tried], labels[:tried], object_size=OBJECT)
    images = torch.stack([prepare(image) for image in pixels.transpose(0, 2, 3, 1)])
    classes = torch.from_numpy(labels)
    with torch.no_grad():
        predicted = torch.cat([model(batch).argmax(1) for batch in images.split(BATCH)])
    correct = predicted == classes
    right = correct.nonzero()[:count, 0]
    if len(right) < count:
        raise SystemExit(f"the network is right on {len(right)} of {tried} images: ask for fewer")
    accuracy = float(correct.double().mean())
    return Composed(images[right], classes[right], torch.from_numpy(masks)[right], accuracy)


def methods(model: nn.Module) -> dict[str, Any]:
    """Label -> method: all that apply, and every preset."""
    presets = (name for name in relprop.presets() if name not in {*METHODS, *SAME})
    return {
        **every_method(model, "cifar10"),
        **{f"lrp:{name}": f"lrp:{name}" for name in presets},
        "gradient": "gradient",
    }


def left_out() -> dict[str, str]:
    """Method -> why it is not in the table."""
    return {name: reason for name, reason in LEFT_OUT.items() if name == "cam"}


def measure(
    model: nn.Module, data: Composed, ways: Mapping[str, Any], folder: Path | None = None
) -> Iterator[Row]:
    """A row for each method, as soon as it is done; kept in the folder."""
    for label, method in ways.items():
        chosen = data.first(FEWER) if label in SLOW else data
        question = _question(method)
        path = None if folder is None else folder / f"{label.replace(':', '-')}.npz"
        if path is not None and path.exists():
            with np.load(path) as kept:
                if len(kept["mass"]) == len(chosen.images):
                    pair = (torch.from_numpy(kept[key]) for key in MEASURES)
                    yield Row(label, question, *pair, float(kept["seconds"]))
                    continue
        heatmaps, seconds = _heatmaps(model, method, chosen)
        row = Row(
            label,
            question,
            mass_inside(heatmaps, chosen.masks),
            rank_accuracy(heatmaps, chosen.masks),
            seconds,
        )
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, mass=row.mass, rank=row.rank, seconds=seconds)
        yield row


def _question(method: Any) -> str:
    """What kind of question a method answers; rules and presets are LRP's."""
    name = method[0] if isinstance(method, tuple) else method
    known = isinstance(name, str) and name in METHODS
    return METHODS[name].question if known else "attribution"


def _heatmaps(model: nn.Module, method: Any, data: Composed) -> tuple[Tensor, float]:
    way = heatmaps_by(model, method)
    way(data.images[:1], data.classes[:1])  # what is loaded and planned once is not counted
    start = time.perf_counter()
    pairs = zip(data.images.split(BATCH), data.classes.split(BATCH), strict=True)
    maps = torch.cat([way(*pair) for pair in pairs])
    return maps, (time.perf_counter() - start) / len(data.images)


def as_table(rows: Sequence[Row], chance: float) -> list[str]:
    """The rows, the best rank accuracy first, as a table in Markdown."""
    lines = ["| method | question | images | mass inside | rank accuracy |", "|" + " --- |" * 5]
    for row in ranked(rows):
        cells = (str(_percent(row.estimate(name))) for name in MEASURES)
        lines.append(f"| {row.method} | {row.question} | {len(row.mass)} | {' | '.join(cells)} |")
    return [*lines, f"| chance: the square's share | | | {chance:.1%} | {chance:.1%} |"]


def _percent(found: Estimate) -> str:
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The best rank accuracy first."""
    return sorted(rows, key=lambda row: -row.estimate("rank").value)


def draw(rows: Sequence[Row], chance: float) -> Any:
    """Both measures of every method, with 95 % intervals and the level of chance."""
    ordered = ranked(rows)[::-1]
    figure = new_figure(9, 0.21 * len(ordered) + 1.2)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for colour, question in enumerate(QUESTIONS):
            places = [at for at, row in enumerate(ordered) if row.question == question]
            if not places:
                continue
            found = [ordered[at].estimate(measure) for at in places]
            middle = np.array([100 * each.value for each in found])
            low, high = np.array([[100 * end for end in each.interval] for each in found]).T
            errors = np.stack([middle - low, high - middle])
            ax.errorbar(
                *(middle, places), xerr=errors, fmt="o", ms=4, color=f"C{colour}", label=question
            )
        ax.axvline(100 * chance, color="0.4", linestyle="--", linewidth=0.8, label="chance")
        ax.set_xlabel(f"{title} (%)")
        ax.grid(axis="y", linewidth=0.3)
    axes[0].set_yticks(range(len(ordered)), [row.method for row in ordered], fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/ground_truth"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = relprop.models.load(NETWORK).to(memory_format=torch.channels_last)
    data = composed_images(model, given.images)
    chance = float(data.masks.double().mean())
    print(f"the network is right on {data.accuracy:.1%} of composed images")
    rows = []
    for row in measure(model, data, methods(model), given.out / "pieces"):
        print(row.method, row.estimate("mass"), row.estimate("rank"), flush=True)
        rows.append(row)
    print("\n".join(as_table(rows, chance)))
    for name, reason in left_out().items():
        print(f"{name} is left out: {reason}")
    import pandas

    pandas.DataFrame([row.record() for row in ranked(rows)]).to_csv(
        given.out / "table.csv", index=False
    )
    draw(rows, chance).savefig(given.out / "figure.png", dpi=100)
    print(f"wrote table.csv and figure.png to {given.out}")


if __name__ == "__main__":
    main()
