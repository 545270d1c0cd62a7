"""Does a search for rules beat the default, on images that it has not seen?

`python studies/tune.py` tunes LeNet-5 on MNIST and the VGG on CIFAR-10. A run that was stopped goes
on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
import torch
from matplotlib.figure import Figure

from relprop import models
from relprop.app.evaluating import read_data
from relprop.evaluation.estimate import Estimate
from relprop.tuned import Tuned
from relprop.tuning import tune

DATA = {"lenet5": "mnist", "cifar10-vgg": "cifar10"}
FILLS = ("uniform", "blur")


def tuned(name: str, *, images: int, held_back: int, out: Path, **settings: Any) -> Tuned:
    """One network tuned on the first test images; what is finished is kept in `out`."""
    model = models.load(name).to(memory_format=torch.channels_last)
    return tune(
        model,
        read_data([DATA[name]], model, limit=images),
        held_back=held_back,
        fills=FILLS,
        name=f"{name}-tuned",
        resume=out / "pieces" / name,
        **settings,
    )


def table(found: Mapping[str, Tuned]) -> pandas.DataFrame:
    """A row for each network and comparison, on the images held back."""
    rows = []
    for name, result in found.items():
        over = f"default ({result.default.name})"
        gains: list[tuple[str, str, Estimate]] = [(over, f, g) for f, g in result.gains.items()]
        gains.append((over, "mean", result.gain))
        gains.append((f"best shipped ({result.shipped.name})", "mean", result.over_shipped))
        for other, fill, gain in gains:
            row = {"network": name, "over": other, "fill": fill, "images": result.held_back}
            rows.append(row | {"gain": gain.value, "low": gain.low, "high": gain.high})
    return pandas.DataFrame(rows)


def draw(rows: pandas.DataFrame, path: Path) -> None:
    """The gains with their intervals, a panel for each network."""
    networks = list(dict.fromkeys(rows["network"]))
    figure = Figure(figsize=(8, 2 * len(networks)), dpi=110, layout="constrained")
    axes = figure.subplots(len(networks), 1, squeeze=False)
    for axis, network in zip(axes.flat, networks, strict=True):
        some = rows[rows["network"] == network].iloc[::-1]
        labels = [f"over {row.over}, {row.fill}" for row in some.itertuples()]
        spread = [some["gain"] - some["low"], some["high"] - some["gain"]]
        axis.errorbar(some["gain"], labels, xerr=spread, fmt="o", capsize=3)
        axis.axvline(0, color="grey", linewidth=1)
        axis.set_title(f"{network}, {some['images'].iloc[0]} images held back", fontsize=10)
        axis.margins(y=0.15)
    figure.supxlabel(
        "gain in area between LeRF and MoRF (logits; 95 % interval of pairs)", fontsize=10
    )
    figure.savefig(path)


def main() -> None:
    """Tune, print, write table.csv, figure.png, the presets and what was tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(DATA), help=", ".join(DATA))
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--held-back", type=int, default=200)
    parser.add_argument("--region", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--per-step", type=int, default=3)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(".cache/studies/tune"))
    options = vars(parser.parse_args())
    networks, out = options.pop("networks"), options["out"]
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in networks:
        result = found[name] = tuned(name, **options, progress=True)
        print(f"{name}\n{result}\n")
        result.to_frame().to_csv(out / f"{name}-trials.csv", index=False)
        print(f"wrote {result.save(out / f'{name}.json')}")
    rows = table(found)
    rows.to_csv(out / "table.csv", index=False)
    draw(rows, out / "figure.png")
    print(rows.to_string(index=False))


if __name__ == "__main__":
    main()
