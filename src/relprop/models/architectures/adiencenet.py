"""AdienceNet: age groups from a face (Levi and Hassner 2015), as in thesis chapter 5."""

from collections import OrderedDict

from torch import nn

from relprop.data.preprocessing import Preprocessing


class AdienceNet(nn.Sequential):
    """AdienceNet with Caffe's layer names, `[N, 3, 227, 227]` (BGR) -> logits `[N, 8]`."""

    classes = ("0-2", "4-6", "8-13", "15-20", "25-32", "38-43", "48-53", "60+")  # years
    preprocessing = Preprocessing(
        size=(227, 227),
        crop=227 / 256,
        channel_order="BGR",
        scale=255,
        mean=(78.426, 87.769, 114.896),  # the mean colour of Adience's aligned faces
    )
    flat_until = "conv1"  # thesis 5.4.2

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(3, 96, 7, stride=4)),
            ("relu1", nn.ReLU()),
            ("pool1", nn.MaxPool2d(3, stride=2, ceil_mode=True)),
            ("norm1", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)),
            ("conv2", nn.Conv2d(96, 256, 5, padding=2)),
            ("relu2", nn.ReLU()),
            ("pool2", nn.MaxPool2d(3, stride=2, ceil_mode=True)),
            ("norm2", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)),
            ("conv3", nn.Conv2d(256, 384, 3, padding=1)),
            ("relu3", nn.ReLU()),
            ("pool5", nn.MaxPool2d(3, stride=2, ceil_mode=True)),
            ("flatten", nn.Flatten()),
            ("fc6", nn.Linear(384 * 7 * 7, 512)),
            ("relu6", nn.ReLU()),
            ("drop6", nn.Dropout(0.5)),
            ("fc7", nn.Linear(512, 512)),
            ("relu7", nn.ReLU()),
            ("drop7", nn.Dropout(0.5)),
            ("fc8", nn.Linear(512, 8)),
        ]
        super().__init__(OrderedDict(layers))
