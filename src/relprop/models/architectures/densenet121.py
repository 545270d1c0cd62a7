"""DenseNet-121 (Huang et al. 2017): batch norm and ReLU before each convolution."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from relprop.models.imagenet import IMAGENET_CLASSES, TORCH_PREPROCESSING

_GROWTH = 32
_BLOCKS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1, BN, ReLU, 3x3 over all features so far, which it prepends to its own."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * _GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * _GROWTH)
        self.conv2 = nn.Conv2d(4 * _GROWTH, _GROWTH, 3, padding=1, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` -> `[N, inputs + 32, H, W]`."""
        narrow = self.conv1(functional.relu(self.norm1(values)))
        return torch.cat([values, self.conv2(functional.relu(self.norm2(narrow)))], dim=1)


class DenseNet121(nn.Module):
    """DenseNet-121, `[N, 3, H, W]` -> logits `[N, 1000]`."""

    classes = IMAGENET_CLASSES
    preprocessing = TORCH_PREPROCESSING

    def __init__(self) -> None:
        super().__init__()
        layers: list[tuple[str, nn.Module]] = [
            ("conv0", nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)),
            ("norm0", nn.BatchNorm2d(64)),
            ("relu0", nn.ReLU(inplace=True)),
            ("pool0", nn.MaxPool2d(3, stride=2, padding=1)),
        ]
        channels = 64
        for index, count in enumerate(_BLOCKS, 1):
            block = (DenseLayer(channels + i * _GROWTH) for i in range(count))
            layers.append((f"denseblock{index}", nn.Sequential(*block)))
            channels += count * _GROWTH
            if index < len(_BLOCKS):
                layers.append((f"transition{index}", _transition(channels)))
                channels //= 2
        layers.append((f"norm{len(_BLOCKS) + 1}", nn.BatchNorm2d(channels)))
        self.features = nn.Sequential(OrderedDict(layers))
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`[N, 3, H, W]` -> logits `[N, 1000]`."""
        values = functional.relu(self.features(images))
        return self.classifier(functional.adaptive_avg_pool2d(values, 1).flatten(1))


def _transition(channels: int) -> nn.Sequential:
    """Halves the channels and the resolution."""
    layers: list[tuple[str, nn.Module]] = [
        ("norm", nn.BatchNorm2d(channels)),
        ("relu", nn.ReLU(inplace=True)),
        ("conv", nn.Conv2d(channels, channels // 2, 1, bias=False)),
        ("pool", nn.AvgPool2d(2)),
    ]
    return nn.Sequential(OrderedDict(layers))
