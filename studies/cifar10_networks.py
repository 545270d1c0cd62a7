"""Small CIFAR-10 networks of the kinds that relprop ships none of, for the study of presets.

Logits, no softmax. Both end in global average pooling and one dense layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from relprop.models.cifar10 import CifarVgg

CLASSES, PREPROCESSING = CifarVgg.classes, CifarVgg.preprocessing


def normalised(inputs: int, outputs: int, side: int, stride: int = 1) -> list[nn.Module]:
    """A convolution of `side` x `side` that keeps edges, and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class Basic(nn.Module):
    """Two convolutions beside a shortcut, added, then a ReLU (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *normalised(inputs, outputs, 3, stride), nn.ReLU(), *normalised(outputs, outputs, 3)
        )
        same = inputs == outputs and stride == 1
        shortcut = [] if same else normalised(inputs, outputs, 1, stride)
        self.shortcut = nn.Sequential(*shortcut)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` -> `[N, O, H / stride, W / stride]`."""
        return self.relu(self.body(x) + self.shortcut(x))


class Squeeze(nn.Module):
    """Each channel by a gate that is computed from all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.GELU(),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` -> the same shape."""
        return x * self.gate(x)


class Inverted(nn.Module):
    """A wide convolution, GELU, squeeze-excitation and a narrow convolution.

    The block of EfficientNetV2's first stages (Tan and Le 2021), with GELU for SiLU; its input is
    added where shapes allow.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 2 * inputs
        self.body = nn.Sequential(
            *normalised(inputs, wide, 3, stride),
            nn.GELU(),
            Squeeze(wide, inputs // 4),
            *normalised(wide, outputs, 1),
        )
        self.adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` -> `[N, O, H / stride, W / stride]`."""
        return x + self.body(x) if self.adds else self.body(x)


class CifarNetwork(nn.Sequential):
    """`[N, 3, 32, 32]` -> logits `[N, 10]`: a stem, blocks, global average pooling, one layer."""

    classes = CLASSES
    preprocessing = PREPROCESSING

    def __init__(self, stem: Sequence[nn.Module], blocks: Sequence[nn.Module], width: int) -> None:
        pooling = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, len(CLASSES))]
        super().__init__(*stem, *blocks, *pooling)


def residual() -> CifarNetwork:
    """A residual network with batch norm: eleven convolutions and two in shortcuts."""
    a, b, c = 16, 32, 64
    blocks = [Basic(a, a, 1), Basic(a, b, 2), Basic(b, b, 1), Basic(b, c, 2), Basic(c, c, 1)]
    return CifarNetwork([*normalised(3, a, 3), nn.ReLU()], blocks, c)


def gelu() -> CifarNetwork:
    """GELU, squeeze-excitation, batch norm and additions."""
    a, b, c = 16, 32, 64
    blocks = [Inverted(a, b, 2), Inverted(b, b, 1), Inverted(b, c, 2), Inverted(c, c, 1)]
    return CifarNetwork([*normalised(3, a, 3), nn.GELU()], blocks, c)


NETWORKS = {"residual": residual, "gelu": gelu}


def load(network: str, weights: Path) -> CifarNetwork:
    """A trained network in evaluation mode, from what studies/train_cifar10.py wrote."""
    model = NETWORKS[network]()
    model.load_state_dict(load_file(weights))
    return model.eval().to(memory_format=torch.channels_last)
