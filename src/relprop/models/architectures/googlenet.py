"""GoogLeNet (Szegedy et al. 2015) as Caffe has it: LRN, no batch norm, without auxiliary heads."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from relprop.models.imagenet import IMAGENET_CLASSES, caffe_preprocessing

# inputs; outputs of 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection
_MODULES = {
    "inception_3a": (192, 64, 96, 128, 16, 32, 32),
    "inception_3b": (256, 128, 128, 192, 32, 96, 64),
    "pool3/3x3_s2": None,
    "inception_4a": (480, 192, 96, 208, 16, 48, 64),
    "inception_4b": (512, 160, 112, 224, 24, 64, 64),
    "inception_4c": (512, 128, 128, 256, 24, 64, 64),
    "inception_4d": (512, 112, 144, 288, 32, 64, 64),
    "inception_4e": (528, 256, 160, 320, 32, 128, 128),
    "pool4/3x3_s2": None,
    "inception_5a": (832, 256, 160, 320, 32, 128, 128),
    "inception_5b": (832, 384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """Four branches over one input, concatenated: 1x1, 3x3, 5x5, and pooling with a projection."""

    def __init__(
        self, inputs: int, single: int, reduce3: int, three: int, reduce5: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.add_module("1x1", nn.Conv2d(inputs, single, 1))
        self.add_module("3x3_reduce", nn.Conv2d(inputs, reduce3, 1))
        self.add_module("3x3", nn.Conv2d(reduce3, three, 3, padding=1))
        self.add_module("5x5_reduce", nn.Conv2d(inputs, reduce5, 1))
        self.add_module("5x5", nn.Conv2d(reduce5, five, 5, padding=2))
        self.add_module("pool", nn.MaxPool2d(3, stride=1, padding=1))
        self.add_module("pool_proj", nn.Conv2d(inputs, pool, 1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` -> `[N, single + three + five + pool, H, W]`."""
        branches = (("1x1",), ("3x3_reduce", "3x3"), ("5x5_reduce", "5x5"), ("pool", "pool_proj"))
        return torch.cat([self._branch(values, names) for names in branches], dim=1)

    def _branch(self, values: torch.Tensor, names: tuple[str, ...]) -> torch.Tensor:
        for name in names:
            values = self._modules[name](values)  # type: ignore[misc]
            if name != "pool":
                values = functional.relu(values)
        return values


class GoogLeNet(nn.Sequential):
    """GoogLeNet, `[N, 3, 224, 224]` (BGR) -> logits `[N, 1000]`.

    Layers have Caffe's names; inside an inception module a dot stands for its slash.
    """

    classes = IMAGENET_CLASSES
    preprocessing = caffe_preprocessing(224)
    flat_until = "conv2/3x3"  # thesis 5.4.2

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = [
            ("conv1/7x7_s2", nn.Conv2d(3, 64, 7, stride=2, padding=3)),
            ("conv1/relu_7x7", nn.ReLU()),
            ("pool1/3x3_s2", _pool()),
            ("pool1/norm1", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)),
            ("conv2/3x3_reduce", nn.Conv2d(64, 64, 1)),
            ("conv2/relu_3x3_reduce", nn.ReLU()),
            ("conv2/3x3", nn.Conv2d(64, 192, 3, padding=1)),
            ("conv2/relu_3x3", nn.ReLU()),
            ("conv2/norm2", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)),
            ("pool2/3x3_s2", _pool()),
        ]
        for name, channels in _MODULES.items():
            layers.append((name, Inception(*channels) if channels else _pool()))
        layers += [
            ("pool5/7x7_s1", nn.AvgPool2d(7, stride=1)),
            ("pool5/drop_7x7_s1", nn.Dropout(0.4)),
            ("flatten", nn.Flatten()),
            ("loss3/classifier", nn.Linear(1024, 1000)),
        ]
        super().__init__(OrderedDict(layers))


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe rounds the output size up
