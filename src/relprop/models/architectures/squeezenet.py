"""SqueezeNet 1.1 (Iandola et al. 2016): no batch norm, no dense layer, concatenations."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from relprop.models.imagenet import IMAGENET_CLASSES, caffe_preprocessing


class Fire(nn.Module):
    """Few channels by 1x1, then many by 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` -> `[N, 2 expand, H, W]`."""
        squeezed = functional.relu(self.squeeze1x1(values))
        branches = self.expand1x1(squeezed), self.expand3x3(squeezed)
        return torch.cat([functional.relu(branch) for branch in branches], dim=1)


class SqueezeNet(nn.Sequential):
    """SqueezeNet 1.1, `[N, 3, H, W]` -> logits `[N, 1000]`; trained at 227 x 227."""

    classes = IMAGENET_CLASSES
    preprocessing = caffe_preprocessing(227)

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(3, 64, 3, stride=2)),
            ("relu1", nn.ReLU()),
            ("pool1", _pool()),
            ("fire2", Fire(64, 16, 64)),
            ("fire3", Fire(128, 16, 64)),
            ("pool3", _pool()),
            ("fire4", Fire(128, 32, 128)),
            ("fire5", Fire(256, 32, 128)),
            ("pool5", _pool()),
            ("fire6", Fire(256, 48, 192)),
            ("fire7", Fire(384, 48, 192)),
            ("fire8", Fire(384, 64, 256)),
            ("fire9", Fire(512, 64, 256)),
            ("drop9", nn.Dropout(0.5)),
            ("conv10", nn.Conv2d(512, 1000, 1)),
            ("relu10", nn.ReLU()),
            ("pool10", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
        ]
        super().__init__(OrderedDict(layers))


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe rounds the output size up
