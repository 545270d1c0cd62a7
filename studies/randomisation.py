"""Do heatmaps change when a network loses what it has learned? Twelve methods, two networks.

    python -m studies.randomisation [--images N] [--samples N] [--out DIR]

Layer after layer gets the weights that it had before training began, from the input upwards and
from the output downwards, and the heatmaps are compared with those of the trained network: the
model parameter randomisation test (MPRT), its smooth form over noise (sMPRT) and its efficient form
by complexity (eMPRT; Hedström et al. 2024). Finished pieces are kept: run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relprop import evaluation, models
from relprop.app.evaluating import read_data
from relprop.comparing import heatmaps_by
from relprop.errors import RelpropWarning
from relprop.evaluation import Estimate, Randomisation

NETWORKS = {"cifar10-vgg": "cifar10", "lenet5": "mnist"}
METHODS: dict[str, Any] = {
    "lrp:thesis": "lrp:thesis",
    "lrp:epsilon-gamma-flat": "lrp:epsilon-gamma-flat",
    "lrp:alpha1beta0": "lrp:alpha1beta0",
    "gradient-x-input": "gradient-x-input",
    "integrated-gradients": ("integrated-gradients", {"steps": 8}),
    "deeplift": "deeplift",
    "sensitivity": "sensitivity",
    "deconvolution": "deconvolution",
    "guided-backprop": "guided-backprop",
    "grad-cam": "grad-cam",
}
NOISE_MAP, EDGES = "a new random map", "edges"  # baselines: one depends on nothing, one on images
FIGURES = ("up", "down", "smooth_up", "smooth_down", "rise")
TITLES = {
    "up": "MPRT, bottom-up",
    "down": "MPRT, top-down",
    "smooth_up": "sMPRT, bottom-up",
    "smooth_down": "sMPRT, top-down",
    "rise": "eMPRT",
}
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """Images of the test; of its smooth form, with noisy copies of each and the noise's share."""

    images: int = 100
    smooth_images: int = 25
    samples: int = 10
    noise: float = 0.1


def he(layer: nn.Module) -> None:
    """He's weights and biases of zero: how the training of the CIFAR-10 network began."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


RESETS = {"cifar10-vgg": he, "lenet5": None}  # None: PyTorch's own, as in studies/train_mnist.py


def explainers() -> dict[str, Explain]:
    """Label -> (model, images, classes) -> heatmaps."""
    found = {label: by_name(method) for label, method in METHODS.items()}
    return found | {EDGES: by_name("edges"), NOISE_MAP: new_random_map()}


def by_name(method: Any) -> Explain:
    """A method of relprop, planned once for each model."""
    way = lru_cache(maxsize=1)(lambda model: heatmaps_by(model, method))
    return lambda model, images, classes: way(model)(images, classes)


def new_random_map(seed: int = 0) -> Explain:
    """Noise that is drawn anew whenever it is asked for."""
    generator = torch.Generator().manual_seed(seed)
    return lambda model, images, classes: torch.rand(
        len(images), *images.shape[2:], generator=generator
    )


def measure(
    network: str, model: nn.Module, images: Tensor, explain: Explain, setting: Setting
) -> dict[str, Randomisation]:
    """The tests of one method: "up" and "down", and both with heatmaps averaged over noise."""
    smooth = evaluation.noise_averaged(explain, samples=setting.samples, noise=setting.noise)
    some = images[: setting.smooth_images]
    with warnings.catch_warnings():  # random networks leave much to their biases
        warnings.simplefilter("ignore", RelpropWarning)
        return {
            f"{kind}{name}": evaluation.randomisation_test(
                model, chosen, way, order=order, reset=RESETS[network]
            )
            for kind, way, chosen in (("", explain, images), ("smooth_", smooth, some))
            for name, order in (("up", "bottom-up"), ("down", "top-down"))
        }


def row_of(network: str, label: str, found: Mapping[str, Randomisation]) -> dict[str, Any]:
    """The figures of one method, each with the bounds of its interval."""
    figures: dict[str, Estimate] = {name: one.mean_similarity for name, one in found.items()}
    figures |= {"last": found["up"].last_similarity, "rise": found["up"].complexity_rise}
    row: dict[str, Any] = {"network": network, "method": label}
    for name, figure in figures.items():
        row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return row | {"constant_maps": len(found["up"].left_out)}


def run(
    setting: Setting, out: Path, networks: Mapping[str, str] = NETWORKS
) -> list[dict[str, Any]]:
    """A row for each network and method; what is there from an earlier run is not done again."""
    rows = []
    for network, data in networks.items():
        model = models.load(network).to(memory_format=torch.channels_last)
        images = read_data([data], model, limit=setting.images)
        for label, explain in explainers().items():
            path = out / "pieces" / f"{network}-{label.replace(':', '-').replace(' ', '-')}.json"
            piece = json.loads(path.read_text()) if path.exists() else {}
            if piece.get("setting") != asdict(setting):
                found = measure(network, model, images, explain, setting)
                piece = {"setting": asdict(setting), "row": row_of(network, label, found)}
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(piece))
            rows.append(piece["row"])
            print(line_of(rows[-1]), flush=True)
    return rows


def line_of(row: Mapping[str, Any]) -> str:
    """A row of the table as text."""
    shown = [
        f"{row[name]:6.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"
        for name in FIGURES
    ]
    return f"{row['network']:12} {row['method']:23} " + "  ".join(shown)


def agreement(rows: list[dict[str, Any]], network: str) -> dict[str, dict[str, float]]:
    """Rank correlation of the tests over the methods, baselines left out; more sensitive first."""
    chosen = [row for row in rows if row["network"] == network and row["method"] in METHODS]
    return evaluation.rank_correlation(
        {
            name: {row["method"]: row[name] if name == "rise" else -row[name] for row in chosen}
            for name in FIGURES
        }
    )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """For each network, the similarities of both orders and the rise of complexity."""
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(9, 3.4 * len(networks)), layout="constrained")
    axes = figure.subplots(len(networks), 2, sharey="row", squeeze=False)
    styles = (("up", "C0", "o"), ("smooth_up", "C0", "s"), ("down", "C1", "o"),
              ("smooth_down", "C1", "s"), ("rise", "C2", "o"))  # fmt: skip
    for (left, right), network in zip(axes, networks, strict=True):
        chosen = [row for row in rows if row["network"] == network]
        for number, (name, colour, marker) in enumerate(styles):
            ax, shift = (right, 0.0) if name == "rise" else (left, 0.18 * (number - 1.5))
            for place, row in enumerate(chosen):
                middle, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
                ax.plot([low, high], [place + shift] * 2, color=colour, linewidth=1)
                ax.plot(
                    middle, place + shift, marker, color=colour, markersize=4,
                    markerfacecolor=colour if marker == "o" else "white",
                    label=TITLES[name] if not place else None,
                )  # fmt: skip
        left.set_yticks(range(len(chosen)), [row["method"] for row in chosen])
        left.invert_yaxis()
        left.set_title(network, loc="left")
        left.set_xlabel("mean rank correlation with the trained network's map")
        right.set_xlabel("relative rise of complexity, all layers random")
        for ax in (left, right):
            ax.axvline(0, color="0.6", linewidth=0.8)
            ax.grid(axis="y", color="0.9")
    handles = [handle for ax in axes[0] for handle in ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=Setting.images)
    parser.add_argument("--smooth-images", type=int, default=Setting.smooth_images)
    parser.add_argument("--samples", type=int, default=Setting.samples)
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/randomisation"))
    options = parser.parse_args()
    print("similarity: " + ", ".join(TITLES[name] for name in FIGURES) + " (95 % intervals)")
    rows = run(Setting(options.images, options.smooth_images, options.samples), options.out)
    for network in NETWORKS:
        found = agreement(rows, network)
        for name in FIGURES[1:]:
            print(f"{network}: ranks by {TITLES['up']} and {TITLES[name]}: {found['up'][name]:.2f}")
    write(rows, options.out)


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """The table and the figure."""
    import pandas

    pandas.DataFrame(rows).to_csv(out / "table.csv", index=False)
    draw(rows, out / "figure.png")
    print(f"wrote {out / 'table.csv'} and figure.png")


if __name__ == "__main__":
    main()
