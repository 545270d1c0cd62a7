"""Small random networks for hypothesis, and the profile under which the laws are tested."""

from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS = 4


def laws(examples: int = 25):
    """Deterministic, and without a time limit an example: the machine may be busy."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Concatenation(nn.Module):
    """Two branches side by side, mixed back to as many channels."""

    def __init__(self, left: nn.Module, right: nn.Module, mix: nn.Module):
        super().__init__()
        self.left, self.right, self.mix = left, right, mix

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat([self.left(x), self.right(x)], 1))


@dataclass(frozen=True)
class Sizes:
    """What a network is built from."""

    bias: bool = True
    activations: bool = True
    norms: bool = True
    choices: bool = True


def _convolution(draw, sizes: Sizes, channels: int = CHANNELS) -> nn.Module:
    kernel = draw(st.sampled_from([1, 3]))
    groups = draw(st.sampled_from([1, 2, 4])) if channels == CHANNELS else 1
    return nn.Conv2d(
        channels, CHANNELS, kernel, padding=kernel // 2, groups=groups, bias=sizes.bias
    )


def _block(draw, sizes: Sizes, depth: int) -> nn.Module:
    kinds = ["convolution", "pooling"]
    kinds += ["activation"] if sizes.activations else []
    kinds += ["norm", "convolution and norm"] if sizes.norms else []
    kinds += ["choice"] if sizes.choices else []
    kinds += ["residual", "concatenation"] if depth else []
    kind = draw(st.sampled_from(kinds))
    if kind == "convolution":
        return _convolution(draw, sizes)
    if kind == "pooling":
        return nn.AvgPool2d(3, 1, padding=1, count_include_pad=draw(st.booleans()))
    if kind == "activation":
        return draw(st.sampled_from([nn.ReLU(), nn.LeakyReLU(0.1), nn.ReLU(inplace=True)]))
    if kind == "norm":
        return nn.BatchNorm2d(CHANNELS)
    if kind == "convolution and norm":
        return nn.Sequential(_convolution(draw, sizes), nn.BatchNorm2d(CHANNELS))
    if kind == "choice":
        return nn.MaxPool2d(3, 1, padding=1)
    if kind == "residual":
        # An activation in place would write into the branch that goes round it.
        return Residual(nn.Sequential(_convolution(draw, sizes), _block(draw, sizes, depth - 1)))
    return Concatenation(
        nn.Sequential(_convolution(draw, sizes), _block(draw, sizes, depth - 1)),
        nn.Sequential(_convolution(draw, sizes), _block(draw, sizes, depth - 1)),
        _convolution(draw, sizes, 2 * CHANNELS),
    )


@st.composite
def networks(draw, sizes: Sizes = Sizes()):
    """A network of 2 x 6 x 6 inputs and 3 outputs, in float64, random in all it consists of."""
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 10_000)))
        blocks = [nn.Conv2d(2, CHANNELS, 3, padding=1, bias=sizes.bias)]
        for _ in range(draw(st.integers(1, 4))):
            blocks.append(_block(draw, sizes, depth=1))
            if sizes.activations and draw(st.booleans()):
                blocks.append(nn.ReLU())
        blocks.append(draw(st.sampled_from([nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3)])))
        blocks += [nn.Flatten(), nn.Linear(CHANNELS * 9, 5, bias=sizes.bias)]
        if sizes.activations:
            blocks.append(nn.ReLU())
        blocks.append(nn.Linear(5, 3, bias=sizes.bias))
        model = nn.Sequential(*blocks).double().eval().requires_grad_(False)
        for name, buffer in model.named_buffers():
            if "mean" in name:
                nn.init.normal_(buffer, 0.0, 0.1)
            elif "var" in name:
                nn.init.uniform_(buffer, 0.5, 2.0)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.3)
                nn.init.normal_(module.bias, 0.0, 0.3)
    return model


@st.composite
def batches(draw, samples: int | None = None):
    """Inputs [N, 2, 6, 6] of either sign."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    count = samples or draw(st.integers(1, 4))
    return torch.randn(count, 2, 6, 6, generator=generator, dtype=torch.float64)


LINEAR = Sizes(bias=False, activations=False, norms=False, choices=False)
HOMOGENEOUS = Sizes(bias=False, norms=False)
