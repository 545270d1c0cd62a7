"""Input shift (thesis 2.3.3, fig. 2.9 and 2.10): one function, two input ranges, one map or two?

    python studies/input_shift.py [--out DIR]

Network A reads digits in [-1, 1]. Network B reads the same digits in [0, 2]: its first layer's
bias takes the shift back, so that both compute the same output. A rule that looks at input values
(Epsilon) explains them differently; Flat does not. Their difference is the relevance R_mc of the
constant shift: R_x1 = R_x2 + R_mc (thesis 2.64).
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import relprop
from relprop import data, models

SHIFT = -1.0  # x1 = x2 + SHIFT: A reads x1 in [-1, 1], B reads x2 in [0, 2]


class Split(nn.Module):
    """The network with its first layer applied to x2 and to the shift apart, then added."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.first, self.rest = network[0], nn.Sequential(*list(network)[1:])

    def forward(self, x2: Tensor, shift: Tensor) -> Tensor:
        """The output of A for x2 + shift."""
        first = nn.functional.conv2d
        weight, bias = self.first.weight, self.first.bias
        return self.rest(first(x2, weight, bias) + first(shift, weight))


@dataclass(frozen=True)
class Shifted:
    """Relevance of one batch: network A, network B, and the constant shift; `[N, C, H, W]`."""

    x1: Tensor
    x2: Tensor
    shift: Tensor

    @property
    def difference(self) -> float:
        """The largest difference between the maps of A and B, relative to the largest magnitude."""
        return float((self.x1 - self.x2).abs().max() / self.x1.abs().max())

    @property
    def sum_rule_error(self) -> float:
        """The largest violation of R_x1 = R_x2 + R_mc, relative to the largest magnitude."""
        return float((self.x1 - self.x2 - self.shift).abs().max() / self.x1.abs().max())


def shifted(network: nn.Sequential) -> nn.Sequential:
    """Network B: the same function of x2 = x1 - SHIFT."""
    other = copy.deepcopy(network)
    first = other[0]
    with torch.no_grad():
        first.bias += SHIFT * first.weight.sum((1, 2, 3))
    return other


def compare(network: nn.Sequential, x1: Tensor, first: relprop.Rule) -> Shifted:
    """Explain A, B and the split network with `first` on the first layer and Epsilon above."""
    plain = relprop.Epsilon(1e-9)
    rules = relprop.Preset(
        [(relprop.where(kind="convolution", first=True), first)] + [(relprop.where(), plain)]
    )
    x2 = x1 - SHIFT
    target = network(x1).argmax(1)
    a = relprop.explain(network, x1, target, rules=rules)
    b = relprop.explain(shifted(network), x2, target, rules=rules)
    shift = torch.full_like(x2, SHIFT)
    both = relprop.explain(Split(network).eval(), (x2, shift), target, rules=rules)
    return Shifted(a.relevance, b.relevance, both.relevance[1])


def main() -> None:
    """Print the differences, and draw the maps of both networks side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder for the figure")
    out = parser.parse_args().out
    network = models.load("lenet5").double()
    digits = torch.stack([network.preprocessing(d) for d in data.sample_digits()[0]]).double()
    found = {
        str(rule): compare(network, digits, rule)
        for rule in (relprop.Flat(), relprop.Epsilon(1e-9))
    }
    for rule, maps in found.items():
        print(f"{rule}: maps of A and B differ by {maps.difference:.1e} of the largest relevance")
    error = found[str(relprop.Epsilon(1e-9))].sum_rule_error
    print(f"R_x1 = R_x2 + R_mc under Epsilon is violated by {error:.1e} of the largest relevance")
    if out is not None:
        draw(found, out)


def draw(found: dict[str, Shifted], out: Path) -> None:
    """One row for each rule and network, ten digits across (fig. 2.10)."""
    from matplotlib.figure import Figure

    rows = []
    for rule, maps in found.items():
        rows += [(f"{rule}, A", maps.x1), (f"{rule}, B", maps.x2)]
    figure = Figure(figsize=(12, 1.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 10)
    for line, (label, maps) in zip(axes, rows, strict=True):
        line[0].set_title(label, loc="left", fontsize=9)
        for cell, relevance in zip(line, maps[:10, 0], strict=True):
            limit = float(relevance.abs().max())
            cell.imshow(relevance, cmap="seismic", vmin=-limit, vmax=limit)
            cell.set_axis_off()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "input_shift.png", dpi=110)
    print(f"wrote {out / 'input_shift.png'}")


if __name__ == "__main__":
    main()
