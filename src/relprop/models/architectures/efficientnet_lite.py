"""EfficientNet-Lite0: depthwise convolutions, batch norm, residuals, ReLU6; no gates, no SiLU."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from relprop.models.imagenet import IMAGENET_CLASSES, LITE_PREPROCESSING

# (repeats, kernel, stride, expansion, channels) of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SamePadding(nn.Module):
    """Pads so that a convolution gives ceil(size / stride), the odd pixel right and below."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` with a border of zeros."""
        height, width = (self._missing(side) for side in values.shape[2:])
        border = width // 2, width - width // 2, height // 2, height - height // 2
        return functional.pad(values, border)

    def _missing(self, side: int) -> int:
        reach = (-(-side // self.stride) - 1) * self.stride + self.kernel
        return max(0, reach - side)


class Block(nn.Module):
    """Expansion by 1x1, depthwise convolution, projection by 1x1; a residual where sizes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [] if expansion == 1 else convolution("expand", inputs, inner, 1)
        depthwise = convolution("depthwise", inner, inner, kernel, stride=stride, groups=inner)
        project = convolution("project", inner, outputs, 1)[:-1]  # linear: no activation
        self.branch = nn.Sequential(OrderedDict(expand + depthwise + project))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` -> `[N, outputs, H / stride, W / stride]`."""
        passed = self.branch(values)
        return passed + values if self.residual else passed


class EfficientNetLite0(nn.Sequential):
    """EfficientNet-Lite0, `[N, 3, H, W]` -> logits `[N, 1000]`; trained at 224 x 224."""

    classes = IMAGENET_CLASSES
    preprocessing = LITE_PREPROCESSING

    def __init__(self) -> None:
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(Block(channels, outputs, kernel, step, expansion))
                channels = outputs
        stem = convolution("conv", 3, 32, 3, stride=2)
        head = convolution("conv", channels, 1280, 1)
        layers: list[tuple[str, nn.Module]] = [
            ("stem", nn.Sequential(OrderedDict(stem))),
            ("blocks", nn.Sequential(*blocks)),
            ("head", nn.Sequential(OrderedDict(head))),
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("dropout", nn.Dropout(0.2)),
            ("classifier", nn.Linear(1280, 1000)),
        ]
        super().__init__(OrderedDict(layers))


def convolution(
    name: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[tuple[str, nn.Module]]:
    """Padding (where the kernel needs it), convolution, batch norm and ReLU6, by name."""
    layers: list[tuple[str, nn.Module]] = []
    if kernel > 1:
        layers.append((f"{name}_pad", SamePadding(kernel, stride)))
    layers += [
        (name, nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)),
        (f"{name}_norm", nn.BatchNorm2d(outputs, eps=1e-3)),
        (f"{name}_relu", nn.ReLU6()),
    ]
    return layers
