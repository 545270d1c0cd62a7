"""Trains the CIFAR-10 networks on 50,000 images and prints their test accuracy (thesis 3.4).

    python studies/train_cifar10.py                       # cifar10-vgg, whose weights are shipped
    python studies/train_cifar10.py --lrn                 # or --network vgg-lrn: cifar10-vgg-lrn
    python studies/train_cifar10.py --network residual    # for studies/default_presets.py
    python studies/train_cifar10.py --network gelu        # likewise

Written to --out: a checkpoint after every epoch in a folder named like the network, for the study
of heatmaps over a training (fig. 3.7); the final weights beside it; and a JSON file with the
settings and, for every checkpoint, its test accuracy, measured from the stored half precision. The
last epoch is what counts: nothing is chosen by test accuracy.

Stochastic gradient descent with Nesterov's momentum; images cropped at random after a reflected
border of four pixels, and mirrored at random; He's initial weights; a rate that rises linearly for
a fifth of the steps and then falls linearly to zero. In the VGGs, instead of batch norm, the
convolutions' weights are standardised while they are trained; what is stored are plain weights. The
others have batch norm, and are defined in studies/cifar10_networks.py. One thread. A run that was
stopped goes on from its last epoch.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrize import register_parametrization

from relprop.data import cifar10
from relprop.models.cifar10 import CifarVgg

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, it finds its neighbours
from studies import cifar10_networks

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg": CifarVgg,
    "vgg-lrn": partial(CifarVgg, normalise=True),
    **cifar10_networks.NETWORKS,
}
BORDER = 4  # pixels
RISING = 0.2  # of all steps


@dataclass(frozen=True)
class Settings:
    """What a training is made of; stored beside its result."""

    network: str = "vgg"
    epochs: int = 16
    rate: float = 0.05
    batch: int = 64
    momentum: float = 0.9
    decay: float = 5e-4
    seed: int = 0

    @property
    def name(self) -> str:
        """The network's name; for the VGGs, in relprop's registry."""
        return f"cifar10-{self.network}"


# Batch norm allows a higher rate; ten epochs are enough to compare explanations on.
OWN: dict[str, dict[str, Any]] = {
    "residual": {"epochs": 10, "rate": 0.1},
    "gelu": {"epochs": 10, "rate": 0.1},
}


def settings_of(network: str, **given: Any) -> Settings:
    """A network's settings: what is given (not None), then its own, then the common ones."""
    chosen = {name: value for name, value in given.items() if value is not None}
    return Settings(network, **(OWN.get(network, {}) | chosen))


class AugmentedImages:
    """Batches of images, cropped and mirrored at random, as the network takes them."""

    def __init__(self, images: np.ndarray) -> None:
        border = ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0))
        self.padded = torch.from_numpy(np.pad(images.transpose(0, 2, 3, 1), border, "reflect"))
        self.steps = torch.arange(images.shape[-1])

    def batch(self, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """`[N, 3, 32, 32]`, channels last in memory."""
        shape = (2, len(indices), 1)
        down, right = torch.randint(0, 2 * BORDER + 1, shape, generator=generator) + self.steps
        mirrored = torch.rand(len(indices), 1, generator=generator) < 0.5
        right = torch.where(mirrored, right.flip(1), right)
        return standardised(self.padded[indices[:, None, None], down[:, :, None], right[:, None]])


def standardised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 `[N, H, W, 3]` -> `[N, 3, H, W]`, what the network's preprocessing makes of them."""
    mean, std = torch.tensor([CifarVgg.preprocessing.mean, CifarVgg.preprocessing.std])
    return pixels.float().mul_(1 / (255 * std)).sub_(mean / std).permute(0, 3, 1, 2)


class Standardised(nn.Module):
    """A convolution's weights: mean zero, He's variance, and a gain for each output channel.

    Scaled weight standardisation (Brock et al. 2021, after Qiao et al. 2019). It only says how the
    weights are parametrised: the network computes with what comes out, and nothing else is new.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(len(weight), 1, 1, 1))
        self.variance = 2 / weight[0].numel()

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """`[O, I, H, W]` -> the same shape."""
        variance, mean = torch.var_mean(weight, (1, 2, 3), keepdim=True)
        return self.gain * (weight - mean) * torch.rsqrt(variance / self.variance + 1e-8)


def new_network(network: str) -> nn.Module:
    """He's initial weights, biases at zero; the VGGs' convolutions are standardised."""
    model = NETWORKS[network]()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if isinstance(model, CifarVgg):
        for layer in model:
            if isinstance(layer, nn.Conv2d):
                register_parametrization(layer, "weight", Standardised(layer.weight))
    return model.to(memory_format=torch.channels_last)


def plain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """What the network computes with, by the names of the plain network, in half precision."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            values = {kind: getattr(module, kind, None) for kind in kinds}
            found |= {f"{name}.{kind}": v for kind, v in values.items() if v is not None}
    return {
        name: (value.detach().half() if value.is_floating_point() else value).contiguous()
        for name, value in found.items()
    }


def rate_at(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up to the peak, then down to zero."""
    rising = max(1, round(RISING * steps))
    return peak * min((step + 1) / rising, (steps - step) / (steps - rising + 1))


@torch.no_grad()
def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that are classified rightly."""
    model.eval()
    right = 0
    for start in range(0, len(images), 250):
        pixels = torch.from_numpy(images[start : start + 250]).permute(0, 2, 3, 1)
        predicted = model(standardised(pixels.contiguous())).argmax(1).numpy()
        right += int((predicted == labels[start : start + 250]).sum())
    return right / len(images)


class Training:
    """A network on its way: everything that has to be kept so that it can go on."""

    def __init__(self, settings: Settings, out: Path) -> None:
        torch.manual_seed(settings.seed)  # for the initial weights and for dropout
        self.settings, self.out = settings, out
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.model = new_network(settings.network)
        self.optimiser = torch.optim.SGD(
            self.model.parameters(),
            momentum=settings.momentum,
            weight_decay=settings.decay,
            nesterov=True,
        )
        self.curve: list[dict] = []
        self.state = out / f"{settings.name}.state.pt"
        if self.state.exists():
            self._resume()

    def epoch(self, images: AugmentedImages, labels: torch.Tensor) -> float:
        """One pass over all images; the mean loss."""
        self.model.train()
        batches = torch.randperm(len(labels), generator=self.generator).split(self.settings.batch)
        steps = self.settings.epochs * len(batches)
        losses = []
        for indices in batches:
            step = len(self.curve) * len(batches) + len(losses)
            for group in self.optimiser.param_groups:
                group["lr"] = rate_at(step, steps, self.settings.rate)
            batch = images.batch(indices, self.generator)
            loss = functional.cross_entropy(self.model(batch), labels[indices])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def checkpoint(self) -> tuple[str, nn.Module]:
        """Stores the weights in half precision; the file's name and the network as stored."""
        weights = plain_weights(self.model)
        file = f"{self.settings.name}/epoch-{len(self.curve) + 1:02d}.safetensors"
        (self.out / file).parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, self.out / file)
        save_file(weights, self.out / f"{self.settings.name}.safetensors")
        stored = NETWORKS[self.settings.network]()
        stored.load_state_dict(weights)
        return file, stored.to(memory_format=torch.channels_last)

    def keep(self) -> None:
        """Writes the curve, and all that another run needs to go on from here."""
        state = {
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "curve": self.curve,
        }
        partial = self.state.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.state)
        record = {"settings": asdict(self.settings), "curve": self.curve}
        (self.out / f"{self.settings.name}.json").write_text(
            json.dumps(record, indent=1), encoding="utf-8"
        )

    def _resume(self) -> None:
        stored = torch.load(self.state, weights_only=True)
        settings = stored["settings"]
        if "lrn" in settings:  # as it was written while there were only the VGGs
            settings["network"] = "vgg-lrn" if settings.pop("lrn") else "vgg"
        if settings != asdict(self.settings):
            raise SystemExit(f"{self.state} is of another training, {settings}: move it away")
        self.model.load_state_dict(stored["model"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.generator.set_state(stored["generator"])
        torch.set_rng_state(stored["dropout"])
        self.curve = stored["curve"]


def is_finished(settings: Settings, out: Path) -> bool:
    """Whether a training with these settings has come to its end."""
    record = out / f"{settings.name}.json"
    found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    return found.get("settings") == asdict(settings) and len(found["curve"]) == settings.epochs


def train(settings: Settings, out: Path, folder: Path | None) -> list[dict]:
    """Trains, prints and keeps a line an epoch; the curve, a dict for each checkpoint."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    training = Training(settings, out)
    images, labels = cifar10("train", folder=folder)
    test_images, test_labels = cifar10("test", folder=folder)
    augmented, targets = AugmentedImages(images), torch.from_numpy(labels)
    while len(training.curve) < settings.epochs:
        start, start_cpu = time.perf_counter(), time.process_time()
        loss = training.epoch(augmented, targets)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
        file, stored = training.checkpoint()
        point = {
            "epoch": len(training.curve) + 1,
            "loss": loss,
            "test_accuracy": accuracy(stored, test_images, test_labels),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),  # the same where nothing else runs
            "checkpoint": file,
        }
        training.curve.append(point)
        training.keep()
        print(json.dumps(point), flush=True)
    last = training.curve[-1]["test_accuracy"]
    print(f"{settings.name}: {last:.2%} of {len(test_images)} test images")
    return training.curve


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Train the CIFAR-10 networks")
    parser.add_argument("--network", choices=NETWORKS, default="vgg")
    parser.add_argument(
        "--lrn", dest="network", action="store_const", const="vgg-lrn", help="as --network vgg-lrn"
    )
    parser.add_argument("--epochs", type=int, help="16 for the VGGs, 10 for the others")
    parser.add_argument("--rate", type=float, help="the highest learning rate: 0.05, or 0.1")
    parser.add_argument("--batch", type=int, default=Settings.batch)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--out", type=Path, default=Path(".cache/cifar10"))
    parser.add_argument("--data", type=Path, help="folder with the package's PNG and JSON files")
    given = parser.parse_args()
    chosen = {"rate": given.rate, "batch": given.batch, "seed": given.seed}
    train(settings_of(given.network, epochs=given.epochs, **chosen), given.out, given.data)


if __name__ == "__main__":
    main()
