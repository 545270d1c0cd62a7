"""What region perturbation costs beyond its forward passes, and what it costs in Quantus.

    python -m bench.perturbation [--network vgg|small|NAME] [--images 64] [--region 4] [--steps 32]
                                 [--repeats 2] [--batch 256] [--rounds 5] [--with-quantus]

First: the model's bare forward passes over ready batches, and region perturbation with as many, by
turns; the share is bare time over ours, 1 where everything but the passes costs nothing. Then the
same work in Quantus and here: same order, same replacement, one repeat. `vgg` and `small` are
CIFAR-sized with random weights; another name is one of relprop.models.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from relprop import models
from relprop.evaluation import region_perturbation

from .measure import Rounds, Spread, interleaved

FILLS = ("uniform", "mean", "blur", "noisy-linear")


def vgg() -> nn.Module:
    """Six 3 x 3 convolutions in three stages, two dense layers: `[N, 3, 32, 32]` -> `[N, 10]`."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(128 * 16, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


def small() -> nn.Module:
    """Two convolutions and a dense layer: `[N, 3, 32, 32]` -> `[N, 10]`."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 49, 10),
    )


OWN: dict[str, Callable[[], nn.Module]] = {"vgg": vgg, "small": small}


def load(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network in evaluation mode, and the shape of its images."""
    torch.manual_seed(0)
    if name in OWN:
        return OWN[name]().eval(), (3, 32, 32)
    found = models.load(name)
    preprocessing: Any = found.preprocessing
    return found, (preprocessing.channels, *preprocessing.size)


def against_forward_passes(
    network: nn.Module, images: Tensor, options: argparse.Namespace, fill: str
) -> Rounds:
    """Seconds of bare forward passes and of region perturbation, as many passes each."""
    heatmaps = torch.randn(len(images), *images.shape[2:], device=images.device)
    repeats = options.repeats if fill in ("uniform", "noisy-linear") else 1
    passes = len(images) * repeats * options.steps
    batches = [options.batch] * (passes // options.batch) + [passes % options.batch]
    ready = torch.randn(options.batch, *images.shape[1:], device=images.device)

    def bare() -> None:
        with torch.no_grad():
            network(images)
            for size in batches:
                if size:
                    network(ready[:size])

    def ours() -> None:
        region_perturbation(
            network,
            images,
            heatmaps,
            region=options.region,
            steps=options.steps,
            repeats=repeats,
            batch_size=options.batch,
            fill=fill,
        )

    return interleaved({"bare": bare, "ours": ours}, rounds=options.rounds, finish=finish)


def against_quantus(network: nn.Module, images: Tensor, options: argparse.Namespace) -> Rounds:
    """Seconds of both for the same curves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus
    region, steps = options.region, options.steps
    rows, columns = images.shape[2] // region, images.shape[3] // region
    ranks = torch.stack([torch.randperm(rows * columns) for _ in images]) + 1.0
    tiles = ranks.view(-1, rows, columns)
    heatmaps = tiles.repeat_interleave(region, 1).repeat_interleave(region, 2)
    target = network(images).argmax(1)
    metric = quantus.RegionPerturbation(
        patch_size=region,
        regions_evaluation=steps,
        perturb_baseline=0.25,  # type: ignore[arg-type]  # which it takes all the same
        normalise=False,
        disable_warnings=True,
    )
    arrays = {
        "x_batch": images.numpy(),
        "y_batch": target.numpy(),
        "a_batch": heatmaps[:, None].numpy(),
    }
    drops: dict[str, Tensor] = {}

    def theirs() -> None:
        found = metric(model=network, softmax=False, channel_first=True, **arrays)
        drops["quantus"] = torch.tensor(found)

    def ours() -> None:
        curve = region_perturbation(
            network,
            images,
            heatmaps,
            region=region,
            steps=steps,
            fill=0.25,
            repeats=1,
            batch_size=options.batch,
        )
        drops["ours"] = curve.drops[0, :, 1:]

    rounds = interleaved({"quantus": theirs, "ours": ours}, rounds=options.rounds)
    difference = float((drops["quantus"] - drops["ours"]).abs().max())
    print(f"largest difference of f(x_0) - f(x_k): {difference:.1e}")
    return rounds


def finish() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def shown(spread: Spread) -> str:
    """Median and quartiles."""
    return f"{spread.middle:.3f} ({spread.low:.3f} to {spread.high:.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="vgg")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--region", type=int, default=4)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--with-quantus", action="store_true")
    options = parser.parse_args()
    network, shape = load(options.network)
    network = network.to(options.device)
    images = torch.randn(options.images, *shape).to(options.device)
    print(f"{options.network}, {options.images} images {list(shape)}, {vars(options)}")
    for fill in FILLS:
        found = against_forward_passes(network, images, options, fill)
        _say_failures(found)
        share, ours = found.over("bare", "ours"), found.milliseconds("ours")
        print(f"{fill:13} bare forward passes over ours: {shown(share)}; ours {ours:.0f} ms")
    if options.with_quantus:
        found = against_quantus(network, images, options)
        _say_failures(found)
        print(f"Quantus over ours: {shown(found.over('quantus', 'ours'))}")


def _say_failures(found: Rounds) -> None:
    if found.failures:
        raise SystemExit(f"failed: {found.failures}")


if __name__ == "__main__":
    main()
