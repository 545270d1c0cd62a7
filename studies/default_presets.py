"""Which preset should be the default for which kind of network?

    python studies/default_presets.py                          # everything
    python studies/default_presets.py --kinds residual --choice 20 --held-back 20

Figure of merit: the symmetric relevance gain, the area between the curves of least and most
relevant first, in logits (Bluecher et al. 2024), under several fills. On one part of the images all
presets and the candidates of studies/preset_candidates.py are measured, and the candidate with the
largest mean over fills is chosen. On the other part, which is not looked at before, the presets and
that candidate are compared with today's default, image by image.

The residual and the GELU network are trained first where their weights are missing (a quarter of an
hour each; the training goes on where it was stopped). What is measured is kept in `--out`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import relprop
from relprop import data, models
from relprop.errors import RelpropWarning
from relprop.evaluation.estimate import Estimate, estimate

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, it finds its neighbours
from studies import cifar10_networks, train_cifar10
from studies.preset_candidates import CANDIDATES

FILLS = ("uniform", "blur")
OTHERS = {"sensitivity": "sensitivity", "gradient x input": "gradient-x-input", "random": "random"}
TRAINED = Path(".cache/cifar10")

Gains = dict[str, dict[str, Tensor]]  # method -> fill -> gain of each image, in logits


@dataclass(frozen=True)
class Kind:
    """A kind of network, the one that stands for it, and how its images are perturbed."""

    network: str
    images: str
    region: int = 4
    steps: int = 16
    per_step: int = 4
    views: int = 1  # images that show the same photograph

    def coarse(self) -> Kind:
        """The same regions in eight steps at most: enough to choose by."""
        steps = min(8, self.steps)
        return replace(self, steps=steps, per_step=self.per_step * self.steps // steps)


KINDS = {
    "sequential": Kind("cifar10-vgg", "cifar10"),
    "sequential, digits": Kind("lenet5", "mnist"),
    "residual": Kind("residual", "cifar10"),
    "GELU": Kind("gelu", "cifar10"),
    "EfficientNet": Kind(
        "efficientnet-lite0", "photographs", region=14, steps=8, per_step=32, views=2
    ),
}


def network(name: str, trained: Path = TRAINED) -> nn.Module:
    """A trained network; one that is not shipped is trained if its weights are missing."""
    if name not in cifar10_networks.NETWORKS:
        return models.load(name).to(memory_format=torch.channels_last)
    settings = train_cifar10.settings_of(name)
    if not train_cifar10.is_finished(settings, trained):
        train_cifar10.train(settings, trained, None)
    return cifar10_networks.load(name, trained / f"{settings.name}.safetensors")


def images_of(kind: Kind, model: nn.Module, choice: int, held_back: int) -> tuple[Tensor, Tensor]:
    """Test images to choose on, `[N, C, H, W]`, and others that are held back.

    Photographs are few: all of them are taken, every other one is held back.
    """
    if kind.images == "photographs":
        names = data.photograph_names()
        return tuple(
            torch.cat([views(data.photograph(name), model) for name in names[part::2]])
            for part in (0, 1)
        )
    if kind.images == "mnist":
        pixels = data.load_mnist("test")[0][: choice + held_back]
    else:
        pixels = data.cifar10("test")[0][: choice + held_back].transpose(0, 2, 3, 1)
    prepared = torch.stack([model.preprocessing(image) for image in pixels])
    return prepared[:choice], prepared[choice:]


def views(photograph: np.ndarray, model: nn.Module) -> Tensor:
    """Two squares of a photograph at opposite corners, three quarters of its short side."""
    side = 3 * min(photograph.shape[:2]) // 4
    corners = photograph[:side, :side], photograph[-side:, -side:]
    return torch.stack([model.preprocessing(np.ascontiguousarray(c)) for c in corners])


def built_in() -> list[str]:
    """relprop's presets, each once: two of them are the same rules under two names."""
    found: dict[str, relprop.Preset] = {}
    for name, preset in relprop.presets().items():
        if preset not in found.values():
            found[name] = preset
    return [*found]


def gains(
    model: nn.Module, images: Tensor, methods: Mapping[str, Any], kind: Kind, folder: Path
) -> Gains:
    """The symmetric relevance gain of each photograph, by method and fill."""
    return {
        label: _gain(model, images, label, method, kind, folder)
        for label, method in methods.items()
    }


def _gain(
    model: nn.Module, images: Tensor, label: str, method: Any, kind: Kind, folder: Path
) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)  # where biases absorb much
        curves = relprop.evaluate(
            model,
            images,
            {label: method},  # alone, so that what is kept outlives a change of the others
            region=kind.region,
            steps=kind.steps,
            per_step=kind.per_step,
            repeats=1,
            fills=FILLS,
            batch_size=64,
            resume=folder,
        ).curves
    found = {}
    for fill in FILLS:
        morf, lerf = (curves[fill, order, label].per_image for order in ("morf", "lerf"))
        found[fill] = (morf - lerf).view(-1, kind.views).mean(1)
    return found


def best(found: Gains, labels: Sequence[str]) -> str:
    """The method with the largest gain, a mean over images and fills."""
    return max(labels, key=lambda label: mean_over_fills(found, label))


def mean_over_fills(found: Gains, label: str) -> float:
    """In logits."""
    return float(torch.stack([*found[label].values()]).mean())


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

    def better(self, label: str) -> bool:
        """Held back, does it beat the default under every fill, the intervals clear of zero?"""
        return all(
            row["over_default_low"] > 0
            for row in self.rows
            if row["part"] == "held back" and row["method"] == label
        )


def measure(name: str, choice: int, held_back: int, out: Path) -> Result:
    """Choose on one part of the images, compare on the other."""
    kind = KINDS[name]
    model = network(kind.network)
    to_choose, others = images_of(kind, model, choice, held_back)
    default = relprop.explain(model, to_choose[:1]).preset
    presets: dict[str, Any] = {label: f"lrp:{label}" for label in built_in()}
    folder = out / "pieces" / kind.network
    found = gains(model, to_choose, presets | CANDIDATES, kind.coarse(), folder / "choice")
    preset, candidate = best(found, built_in()), best(found, [*CANDIDATES])
    methods = presets | {candidate: CANDIDATES[candidate]} | OTHERS
    held = gains(model, others, methods, kind, folder / "held-back")
    lines = rows(name, "choice", found, default) + rows(name, "held back", held, default)
    return Result(name, default, preset, candidate, lines)


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


def verdict(result: Result) -> str:
    """What the two parts say about the default."""
    said = [
        f"{label}: {'better' if result.better(label) else 'not better'} than the default, held back"
        for label in (result.preset, result.candidate)
        if label != result.default
    ]
    return f"chosen: {result.preset}, {result.candidate}. " + "; ".join(said)


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


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Default presets by kind of network")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--choice", type=int, default=100, help="images to choose on")
    parser.add_argument("--held-back", type=int, default=200, help="images to compare on")
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/default_presets"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in given.kinds:
        results.append(measure(name, given.choice, given.held_back, given.out))
        for part in ("choice", "held back"):
            print(f"{part}\n{table(results[-1], part)}\n", flush=True)
        print(f"{verdict(results[-1])}\n", flush=True)
    with (given.out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, results[0].rows[0])
        writer.writeheader()
        writer.writerows(row for result in results for row in result.rows)
    figure(results).savefig(given.out / "figure.png", dpi=100)
    print(f"wrote {given.out / 'table.csv'} and figure.png")


if __name__ == "__main__":
    main()
