"""What an explanation costs, counted and not timed, so that a change that makes it dearer fails.

Multiplications of convolutions and matrix products of an explainer's second call, in gradients, and
the bytes of tensors at its peak, its workspace included. Where more is done than the floor says,
the layers whose inputs have both signs do it: the first, and those behind a linear bottleneck.
"""

import pytest
import torch
from torch import Tensor, nn

import relprop
from bench import allocation, candidates, floor


def plain() -> nn.Module:
    """Convolutions with biases, pooling, dense layers."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16 * 16, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class Residual(nn.Module):
    """A stem and two bottlenecks with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._layer(3, 32, 3)
        self.blocks = nn.ModuleList(
            nn.ModuleList([self._layer(32, 8, 1), self._layer(8, 8, 3), self._layer(8, 32, 1)])
            for _ in range(2)
        )
        self.head = nn.Linear(32, 10)

    @staticmethod
    def _layer(inputs: int, outputs: int, size: int) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, 3, H, W]` -> `[N, 10]`."""
        h = torch.relu_(self.stem(x))
        for one, two, three in self.blocks:
            h = torch.relu_(three(torch.relu_(two(torch.relu_(one(h))))) + h)
        found: Tensor = self.head(h.mean((2, 3)))
        return found


NETWORKS = {"plain": plain, "residual": Residual}
# Gradients' worth of multiplications, and of bytes at the peak: at most. With eight inputs to an
# output, z- is too small beside z+ for a difference, and three layers compute it: 2.84.
COSTS = {
    ("plain", "epsilon"): (1.0, 1.4),
    ("plain", "alpha1beta0"): (1.56, 1.15),
    ("plain", "alpha2beta1"): (2.14, 1.75),
    ("plain", "epsilon-gamma-flat"): (1.42, 1.2),
    ("plain", "thesis"): (1.86, 1.65),
    ("residual", "epsilon"): (1.0, 1.05),
    ("residual", "alpha1beta0"): (1.79, 1.1),
    ("residual", "alpha2beta1"): (2.84, 1.55),
    ("residual", "epsilon-gamma-flat"): (1.31, 1.55),
    ("residual", "thesis"): (1.71, 1.3),
}


def case(name: str, preset: str) -> tuple[nn.Module, Tensor, relprop.Explainer]:
    """A network with random weights, a batch, and an explainer."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval().requires_grad_(False)
    return network, torch.randn(4, 3, 32, 32), relprop.Explainer(network, preset)


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize(("name", "preset"), COSTS)
def test_multiplications(name: str, preset: str) -> None:
    network, batch, explainer = case(name, preset)
    explainer(batch)
    done = floor.done(lambda: explainer(batch)) / floor.done(candidates.gradient(network, batch))
    least = floor.floor(preset, network, batch)
    assert least is not None
    assert least - 1e-9 <= done <= COSTS[name, preset][0] + 1e-9


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize(("name", "preset"), COSTS)
def test_bytes(name: str, preset: str) -> None:
    network, batch, explainer = case(name, preset)
    gradient = candidates.gradient(network, batch)
    gradient()
    for _ in range(2):
        explainer(batch)
    used = allocation.allocated(lambda: explainer(batch))
    workspace = explainer.workspace_nbytes
    ratio = (used.peak + workspace) / allocation.allocated(gradient).peak
    assert ratio <= COSTS[name, preset][1]


def test_a_layer_counts_two_three_and_four() -> None:
    """One convolution between others that are not counted: 2, 3 and 4 products of its size."""
    torch.manual_seed(0)
    first, middle = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
    network = nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), nn.Flatten())
    network.eval().requires_grad_(False)
    batch, weights = torch.randn(2, 1, 8, 8), torch.rand(2, 8 * 64)
    one, other = 2 * 8 * 64 * 8 * 9, 2 * 8 * 64  # multiplications of the middle one, and the first
    for rule, products, most in (
        (relprop.Epsilon(), 2, 2),
        (relprop.ZPlus(), 3, 5),
        (relprop.AlphaBeta(2, -1), 4, 9),
        (relprop.Gamma(), 3, 5),
    ):
        explainer = relprop.Explainer(network, rule)
        explainer(batch, weights)
        done = floor.done(lambda explainer=explainer: explainer(batch, weights))
        assert products * one < done <= products * one + most * other
