"""A small VGG for CIFAR-10, with and without local response normalisation. Logits, no softmax."""

from collections import OrderedDict

from torch import nn

from relprop.data.cifar10 import CIFAR10_CLASSES
from relprop.data.preprocessing import Preprocessing

_CHANNELS = (32, 64, 128)


class CifarVgg(nn.Sequential):
    """Six convolutions, two dense layers, no batch norm; `[N, 3, 32, 32]` -> logits `[N, 10]`.

    With `normalise`, a local response normalisation follows the first and the second pooling, as
    in CaffeNet; its constant suits activations of about 1.
    """

    classes = CIFAR10_CLASSES
    preprocessing = Preprocessing(
        size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
    )

    def __init__(self, *, normalise: bool = False) -> None:
        layers: list[tuple[str, nn.Module]] = []
        inputs = 3
        for stage, outputs in enumerate(_CHANNELS, 1):
            for index in (1, 2):
                layers.append((f"conv{stage}_{index}", nn.Conv2d(inputs, outputs, 3, padding=1)))
                layers.append((f"relu{stage}_{index}", nn.ReLU()))
                inputs = outputs
            layers.append((f"pool{stage}", nn.MaxPool2d(2)))
            if normalise and stage < len(_CHANNELS):
                layers.append((f"norm{stage}", nn.LocalResponseNorm(5, alpha=1.0, beta=0.75)))
        layers += [
            ("flatten", nn.Flatten()),
            ("fc4", nn.Linear(inputs * 4 * 4, 256)),
            ("relu4", nn.ReLU()),
            ("drop4", nn.Dropout(0.3)),
            ("fc5", nn.Linear(256, 10)),
        ]
        super().__init__(OrderedDict(layers))
