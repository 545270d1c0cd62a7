"""Which preset should be the default for which kind of network?

    python studies/default_presets.py                          # everything
    python studies/default_presets.py --kinds residual --choice 20 --held-back 20

Figure of merit: the symmetric relevance gain, the area between the curves of least and most
relevant first, in logits (Bluecher et al. 2024), under several fills. On one part of the images all
presets and the candidates of studies/preset_candidates.py are measured, and the candidate with the
largest mean over fills is chosen; for kinds that share a default, also the candidate that is better
than it for all of them. On the other part, which is not looked at before, the presets and those
candidates are compared with today's default, image by image.

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

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, it finds its neighbours
from studies import cifar10_networks, train_cifar10
from studies.preset_candidates import CANDIDATES
from studies.preset_results import (
    FILLS,
    OTHERS,
    Gains,
    Result,
    better_for_all,
    built_in,
    figure,
    overview,
    rows,
    table,
    verdicts,
)

TRAINED = Path(".cache/cifar10")


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


def measure(name: str, choice: int, held_back: int, out: Path, shared: str | None = None) -> Result:
    """Choose on one part of the images, compare on the other; there, with a candidate more."""
    kind = KINDS[name]
    model = network(kind.network)
    to_choose, others = images_of(kind, model, choice, held_back)
    default = relprop.explain(model, to_choose[:1]).preset
    presets: dict[str, Any] = {label: f"lrp:{label}" for label in built_in()}
    folder = out / "pieces" / kind.network
    found = gains(model, to_choose, presets | CANDIDATES, kind.coarse(), folder / "choice")
    preset, candidate = best(found, built_in()), best(found, [*CANDIDATES])
    tried = {label: CANDIDATES[label] for label in (candidate, shared) if label in CANDIDATES}
    methods = presets | tried | OTHERS
    held = gains(model, others, methods, kind, folder / "held-back")
    lines = rows(name, "choice", found, default) + rows(name, "held back", held, default)
    return Result(name, default, preset, candidate, lines, shared)


def shared_candidates(results: Sequence[Result]) -> dict[str, str]:
    """Default -> the candidate that is to replace it for all kinds that share it, if there is one.

    It is better than the default on the part to choose on, for every kind and under every fill.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.default, []).append(result)
    found = {
        default: better_for_all(group, [*CANDIDATES])
        for default, group in groups.items()
        if len(group) > 1
    }
    return {default: label for default, label in found.items() if label is not None}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Default presets by kind of network")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--choice", type=int, default=60, help="images to choose on")
    parser.add_argument("--held-back", type=int, default=120, help="images to compare on")
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/default_presets"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (given.choice, given.held_back, given.out)
    results = [measure(name, *sizes) for name in given.kinds]
    shared = shared_candidates(results)
    results = [
        measure(result.name, *sizes, shared=shared[result.default])
        if result.default in shared
        else result
        for result in results
    ]
    for result in results:
        for part in ("choice", "held back"):
            print(f"{part}\n{table(result, part)}\n", flush=True)
    with (given.out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, results[0].rows[0])
        writer.writeheader()
        writer.writerows(row for result in results for row in result.rows)
    figure(results).savefig(given.out / "figure.png", dpi=100)
    print(f"{overview(results)}\n\n{verdicts(results)}\n")
    print(f"wrote {given.out / 'table.csv'} and figure.png")


if __name__ == "__main__":
    main()
