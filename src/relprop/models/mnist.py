"""The thesis's digit classifiers (2.3.3): two perceptrons and LeNet-5. Logits out, no softmax."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from relprop.data.preprocessing import Preprocessing
from relprop.errors import UnknownName

DIGITS = tuple(str(digit) for digit in range(10))
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Mlp(nn.Sequential):
    """Three hidden layers of 1296 units and ten outputs, `[N, 1, 28, 28]` -> `[N, 10]`.

    Raises UnknownName for an activation other than "tanh" and "relu".
    """

    classes = DIGITS
    preprocessing = Preprocessing(size=(28, 28), channel_order="L", mean=(0.5,), std=(0.5,))

    def __init__(self, activation: Literal["tanh", "relu"] = "relu") -> None:
        if activation not in _ACTIVATIONS:
            raise UnknownName("activation", activation, _ACTIVATIONS)
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        for index, (inputs, outputs) in enumerate(((784, 1296), (1296, 1296), (1296, 1296)), 1):
            layers.append((f"dense{index}", nn.Linear(inputs, outputs)))
            layers.append((f"{activation}{index}", _ACTIVATIONS[activation]()))
        layers.append(("dense4", nn.Linear(1296, 10)))
        super().__init__(OrderedDict(layers))


class SumPool(nn.Module):
    """Sums over 2 x 2 windows, over the square root of their size (the LRP Toolbox's form)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` -> `[N, C, H // 2, W // 2]`."""
        return functional.avg_pool2d(values, 2) * 2.0  # sum / sqrt(4) = mean * 4 / 2


class LeNet5(nn.Sequential):
    """LeNet-5 with ReLU and sum pooling, `[N, 1, 32, 32]` -> `[N, 10]`.

    Its input is a digit padded by two pixels of background: -1, not the mid-grey 0.
    """

    classes = DIGITS
    preprocessing = Preprocessing(size=(32, 32), pad=2, channel_order="L", mean=(0.5,), std=(0.5,))

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = []
        shapes = ((1, 10, 5), (10, 25, 5), (25, 100, 4))
        for index, (inputs, outputs, kernel) in enumerate(shapes, 1):
            layers.append((f"conv{index}", nn.Conv2d(inputs, outputs, kernel)))
            layers.append((f"relu{index}", nn.ReLU()))
            layers.append((f"pool{index}", SumPool()))
        layers.append(("conv4", nn.Conv2d(100, 10, 1)))
        layers.append(("flatten", nn.Flatten()))
        super().__init__(OrderedDict(layers))
