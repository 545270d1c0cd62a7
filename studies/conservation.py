"""Conservation of every preset on every architecture that ships: the gap, and what is absorbed.

    python studies/conservation.py [--models lenet5 vgg16 ...] [--presets epsilon ...] [--out FILE]

For each network and preset: the conservation gap |f - sum R - absorbed| / max(|f|, sum |R|, sum
|absorbed|), largest over samples, and the shares of the output that biases, stabilisers and empty
sides took. Digits for the digit classifiers, photographs for the others. Weights are the trained
ones where there are any, else random (He et al., with batch-norm statistics drawn to match).
"""

from __future__ import annotations

import argparse
import csv
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import relprop
from relprop import data, models
from relprop.errors import InvalidInput, RelpropError

BOUND = 1e-4
PHOTOGRAPHS = ("chelsea", "coffee")


@dataclass(frozen=True)
class Row:
    """One network under one preset; shares are of the output, averaged over samples."""

    model: str
    weights: str
    preset: str
    gap: float
    relevance: float
    bias: float
    stabiliser: float
    lost: float


def images_for(model: nn.Module, samples: int = 2) -> Tensor:
    """Real inputs of a shipped model, preprocessed, `[N, C, H, W]`."""
    preprocess = model.preprocessing
    if preprocess.channels == 1:
        return torch.stack([preprocess(digit) for digit in data.sample_digits()[0][:samples]])
    return torch.stack([preprocess(data.photograph(name)) for name in PHOTOGRAPHS[:samples]])


def measure(name: str, model: nn.Module, weights: str, presets: list[str]) -> list[Row]:
    """One row for each preset, in float32."""
    images = images_for(model)
    recording = relprop.record(model, images)
    rows = []
    for preset in presets:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", relprop.errors.RelpropWarning)
            explanation = recording.explain(rules=preset)
        totals = explanation.ledger.totals()
        shares = {
            column: float((totals[source] / totals["received"]).mean())
            for column, source in (
                ("relevance", "passed"),
                ("bias", "bias"),
                ("stabiliser", "stabiliser"),
                ("lost", "lost"),
            )
        }
        gap = float(explanation.conservation_gap.max())
        rows.append(Row(name, weights, preset, gap, **shares))
        print(_line(rows[-1]), flush=True)
    return rows


def load(name: str) -> tuple[nn.Module, str]:
    """A model with its trained weights where they can be had, else with random ones."""
    try:
        return models.load(name), "trained"
    except (InvalidInput, RelpropError):
        return models.load(name, pretrained=False), "random"


def _line(row: Row) -> str:
    shares = f"{row.relevance:10.3g} {row.bias:10.3g} {row.stabiliser:10.3g} {row.lost:10.3g}"
    return f"{row.model:20} {row.weights:8} {row.preset:20} {row.gap:9.1e} {shares}"


def main() -> None:
    """Print the table; exit with 1 where a gap exceeds the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=models.names())
    parser.add_argument("--presets", nargs="+", default=list(relprop.presets()))
    parser.add_argument("--out", type=Path, help="a CSV file for the table")
    chosen = parser.parse_args()
    print(
        f"{'model':20} {'weights':8} {'preset':20} {'gap':>9} "
        f"{'relevance':>10} {'bias':>10} {'stabiliser':>10} {'lost':>10}   (shares of the output)"
    )
    rows = []
    for name in chosen.models:
        rows += measure(name, *load(name), chosen.presets)
    worst = max(rows, key=lambda row: row.gap)
    print(f"worst gap {worst.gap:.1e} ({worst.model}, {worst.preset}); bound {BOUND:.0e}")
    if chosen.out is not None:
        with chosen.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(worst)))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    raise SystemExit(worst.gap > BOUND)


if __name__ == "__main__":
    main()
