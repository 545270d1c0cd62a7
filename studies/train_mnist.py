"""Trains the thesis's digit classifiers (2.3.3) on MNIST and prints their test accuracy.

    python studies/train_mnist.py lenet5 --epochs 30 --out .cache/mnist

As the thesis says: stochastic gradient descent in batches of 25, every digit shifted by up to four
pixels at random, what the shift uncovers filled with background, inputs in [-1, 1]. Not said there
and chosen here: no momentum, no weight decay, PyTorch's own initialisation, a rate that falls
linearly to zero. One thread. A run that was stopped goes on from its last epoch.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from relprop.data.mnist import load_mnist
from relprop.models.mnist import LeNet5, Mlp

MODELS = {"lenet5": LeNet5, "mlp-tanh": lambda: Mlp("tanh"), "mlp-relu": lambda: Mlp("relu")}
EPOCHS = {"lenet5": 20, "mlp-tanh": 60, "mlp-relu": 80}
BATCH = 25
SHIFT = 4  # pixels


@dataclass(frozen=True)
class Settings:
    """What a training is made of; stored beside its result."""

    model: str
    epochs: int
    rate: float
    seed: int
    start: str | None = None  # a file of weights to go on from, instead of random ones


class DenseStep(torch.autograd.Function):
    """A dense layer that takes its own gradient-descent step on the way back.

    Gradient and update in one pass over the weights: half the time of computing the gradient,
    storing it and subtracting it, with the same result.
    """

    @staticmethod
    def forward(ctx, values, weight, bias, rate):
        """`[N, I]` -> `[N, O]`."""
        ctx.save_for_backward(values, weight, bias)
        ctx.rate = rate
        return torch.addmm(bias, values, weight.T)

    @staticmethod
    def backward(ctx, gradient):
        """The gradient for the layer's input, by the weights before the step."""
        values, weight, bias = ctx.saved_tensors
        passed = gradient @ weight if ctx.needs_input_grad[0] else None
        weight.data.addmm_(gradient.T, values, alpha=-ctx.rate)
        bias.data.sub_(gradient.sum(0), alpha=ctx.rate)
        return passed, None, None, None


def descend(model: nn.Sequential, images: torch.Tensor, labels: torch.Tensor, rate: float) -> float:
    """One step of stochastic gradient descent on the cross-entropy, which is returned."""
    values = images
    for layer in model:
        if isinstance(layer, nn.Linear):
            values = DenseStep.apply(values, layer.weight, layer.bias, rate)
        else:
            values = layer(values)
    loss = functional.cross_entropy(values, labels)
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:  # dense layers have made their step already
                parameter.sub_(parameter.grad, alpha=rate)
                parameter.grad = None
    return loss.item()


class ShiftedDigits:
    """Batches of digits shifted at random, in the range and size that the model takes."""

    def __init__(self, images: torch.Tensor, size: int) -> None:
        border = SHIFT + (size - images.shape[-1]) // 2
        self.padded = functional.pad(images, (border,) * 4)  # background is 0 in uint8
        self.steps = torch.arange(size)

    def batch(self, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """`[N, 1, size, size]` in [-1, 1]."""
        shape = (2, len(indices), 1)
        down, right = torch.randint(0, 2 * SHIFT + 1, shape, generator=generator) + self.steps
        pixels = self.padded[indices[:, None, None], down[:, :, None], right[:, None, :]]
        return _scaled(pixels)


def _scaled(pixels: torch.Tensor) -> torch.Tensor:
    return pixels[:, None].float().div_(127.5).sub_(1)


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, size: int) -> float:
    """The share of digits that are classified rightly, unshifted."""
    border = (size - images.shape[-1]) // 2
    right = 0
    for start in range(0, len(images), 1000):
        part = functional.pad(images[start : start + 1000], (border,) * 4)
        right += int((model(_scaled(part)).argmax(1) == labels[start : start + 1000]).sum())
    return right / len(images)


def train(settings: Settings, out: Path, folder: Path | None) -> None:
    """Trains, prints and keeps a line an epoch, and writes weights and curve."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)  # for the initial weights
    model = MODELS[settings.model]()
    size = model.preprocessing.size[0]
    images, labels = map(torch.from_numpy, load_mnist("train", folder=folder))
    test_images, test_labels = map(torch.from_numpy, load_mnist("test", folder=folder))
    digits = ShiftedDigits(images, size)
    checkpoint = out / f"{settings.model}.checkpoint.pt"
    if settings.start is not None:
        model.load_state_dict(load_file(settings.start))
    curve = _resume(checkpoint, settings, model, generator)
    steps = settings.epochs * (len(images) // BATCH)
    for epoch in range(len(curve), settings.epochs):
        start, losses = time.perf_counter(), []
        for indices in torch.randperm(len(images), generator=generator).split(BATCH):
            rate = settings.rate * (1 - (epoch * (len(images) // BATCH) + len(losses)) / steps)
            batch = digits.batch(indices, generator)
            losses.append(descend(model, batch, labels[indices], rate))
        point = {
            "epoch": epoch + 1,
            "loss": sum(losses) / len(losses),
            "test_accuracy": accuracy(model, test_images, test_labels, size),
            "seconds": round(time.perf_counter() - start, 1),
        }
        curve.append(point)
        print(json.dumps(point), flush=True)
        _keep(checkpoint, settings, model, generator, curve)
    _write(out, settings, model, curve)
    print(f"{settings.model}: {curve[-1]['test_accuracy']:.2%} of {len(test_images)} test digits")


def _resume(path: Path, settings: Settings, model: nn.Module, generator: torch.Generator) -> list:
    """The curve so far, with the model and the generator set to where it ends."""
    if not path.exists():
        return []
    stored = torch.load(path, weights_only=True)
    if stored["settings"] != asdict(settings):
        raise SystemExit(f"{path} is of another training, {stored['settings']}: move it away")
    model.load_state_dict(stored["model"])
    generator.set_state(stored["generator"])
    return stored["curve"]


def _keep(path, settings, model, generator, curve) -> None:
    state = {
        "settings": asdict(settings),
        "model": model.state_dict(),
        "generator": generator.get_state(),
        "curve": curve,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _write(out: Path, settings: Settings, model: nn.Module, curve: list) -> None:
    save_file(model.state_dict(), out / f"{settings.model}.safetensors")
    record = {"settings": asdict(settings), "curve": curve}
    (out / f"{settings.model}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Train the thesis's MNIST models")
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--epochs", type=int, help=f"as shipped, if left out: {EPOCHS}")
    parser.add_argument("--rate", type=float, default=0.1, help="initial learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", help="safetensors file to go on from (a warm restart)")
    parser.add_argument("--out", type=Path, default=Path(".cache/mnist"))
    parser.add_argument("--data", type=Path, help="folder with MNIST's IDX files")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    epochs = EPOCHS[given.model] if given.epochs is None else given.epochs
    settings = Settings(given.model, epochs, given.rate, given.seed, given.start)
    train(settings, given.out, given.data)


if __name__ == "__main__":
    main()
