"""The networks that are measured: random weights, frozen, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from relprop import models
from relprop.data.preprocessing import Preprocessing

USUAL = {"lenet5": (256, 32), "small-1000": (1, 32), "residual": (4, 16)}  # batch, side


class Logits(nn.Module):
    """A model of Hugging Face's transformers that returns logits, `[N, 3, H, W]` -> `[N, K]`."""

    preprocessing = Preprocessing(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the classes."""
        scores: Tensor = self.model(images).logits
        return scores


def vit(layers: int = 12) -> nn.Module:
    """ViT-B/16 from its configuration."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    return Logits(ViTForImageClassification(ViTConfig(num_hidden_layers=layers, num_labels=1000)))


class Residual(nn.Module):
    """The operations of the large networks in small, `[N, 3, H, W]` -> `[N, 2]`.

    Run once so that what a tool imports at its first call is not put down to a network.
    """

    preprocessing = Preprocessing(size=(16, 16))

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.branch = nn.Conv2d(3, 3, 1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.flatten, self.dense = nn.Flatten(), nn.Linear(3 * 8 * 8, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Two scores."""
        values = self.norm(self.convolution(images))
        values += self.branch(images)
        scores: Tensor = self.dense(self.flatten(self.pool(self.relu(values))))
        return scores


def tiny_operations(layers: int = 200, width: int = 4) -> nn.Module:
    """Dense layers and ReLUs so small that a call is nothing but its Python, `[N, width]`."""
    torch.manual_seed(0)
    pairs = [(nn.Linear(width, width), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*(module for pair in pairs for module in pair))


def many_classes(classes: int = 1000) -> nn.Module:
    """A small network with many classes, `[N, 3, 32, 32]` -> `[N, classes]`."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, classes),
    )
    network.preprocessing = Preprocessing(size=(32, 32))  # type: ignore[assignment]
    return network


_OTHERS: dict[str, Callable[[], nn.Module]] = {
    "vit-b16": vit,
    "small-1000": many_classes,
    "residual": Residual,
}


def load(name: str) -> nn.Module:
    """A network by its name here or in `relprop.models`."""
    if name in _OTHERS:
        return _OTHERS[name]().eval().requires_grad_(False)
    return models.load(name, pretrained=False).requires_grad_(False)


def usual(name: str) -> tuple[int, int]:
    """The batch and the side of the images that a network is measured with in the first place."""
    return USUAL.get(name, (4, 224))


def names() -> list[str]:
    """The names that `load` knows."""
    return [*models.names(), *_OTHERS]


def images(network: nn.Module, batch: int, side: int | None = None) -> Tensor:
    """Uniform noise between black and white, `[batch, C, H, W]`; `side`: another H and W."""
    known = network.preprocessing
    assert isinstance(known, Preprocessing)
    size = known.size if side is None else (side, side)
    low, high = (torch.tensor(bound)[:, None, None] for bound in (known.low, known.high))
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(batch, known.channels, *size, generator=generator)
