"""Region perturbation of MNIST and CIFAR-10 images for many methods (thesis 3.4, fig. 3.4, 3.5).

`python studies/perturbation.py mnist` writes table.csv, curves and a report into `--out`, and
prints the ranking. The thesis's settings (AlphaBeta(2, -1), Epsilon of 0.01 and 100, sensitivity,
deconvolution) stand beside our presets. What is finished is kept: run again, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import relprop
from relprop.app.evaluating import read_data, write_all

MODELS = {"mnist": "lenet5", "cifar10": "cifar10-vgg"}
REGIONS = {"mnist": 4, "cifar10": 4}
FILLS = ("uniform", "blur", "mean")


def methods() -> dict[str, Any]:
    """Label -> method: what the thesis compares, our presets, and others."""
    return {
        "lrp AlphaBeta(2, -1)": relprop.AlphaBeta(2, -1),
        "lrp Epsilon(0.01)": relprop.Epsilon(0.01),
        "lrp Epsilon(100)": relprop.Epsilon(100),
        **{f"lrp:{name}": f"lrp:{name}" for name in presets()},
        "sensitivity": "sensitivity",
        "deconvolution": "deconvolution",
        "gradient-x-input": "gradient-x-input",
        "guided-backprop": "guided-backprop",
        "integrated-gradients": "integrated-gradients",
        "grad-cam": "grad-cam",
        "edges": "edges",
        "random map": "random",
    }


def presets() -> Sequence[str]:
    """The presets that fit a plain network whose input has no known bounds."""
    return ("thesis", "epsilon-gamma-flat", "alpha1beta0", "montavon2019")


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="mnist", choices=MODELS)
    parser.add_argument("--weights", type=Path, help="what studies/train_cifar10.py wrote")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--region", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out or Path("study-perturbation") / options.data
    model = relprop.models.load(MODELS[options.data], weights=options.weights)
    images = read_data([options.data], model, limit=options.images)
    torch.manual_seed(0)
    comparison = relprop.evaluate(
        model,
        images,
        methods(),
        region=options.region or REGIONS[options.data],
        steps=options.steps,
        repeats=options.repeats,
        fills=FILLS,
        resume=out / "pieces",
        progress=True,
    )
    print(comparison)
    for line in write_all(comparison, images, out, title=f"{options.data}: methods compared"):
        print(line)


if __name__ == "__main__":
    main()
