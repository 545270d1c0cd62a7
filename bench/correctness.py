"""Is it right, however the network is written? Bias-free networks under the plain z-rule.

There the right relevance is known: with gates and GELU's x -> x factor held constant the network is
piecewise linear, and its relevance under the z-rule (thesis 2.10) is input times gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

import relprop

from . import rival_zennit
from .store import Row

EPSILON = 1e-12


class Written(nn.Module):
    """Two convolutions and a dense layer, with what happens in between written by `middle`."""

    def __init__(self, middle: Middle) -> None:
        super().__init__()
        self.middle = middle
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.gelu = nn.GELU()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.dense = nn.Linear(8 * 4, 5, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, 3, H, W]` -> `[N, 5]`."""
        output: Tensor = self.dense(self.middle(self, self.relu(self.first(images))).flatten(1))
        return output


Middle = Callable[[Written, Tensor], Tensor]


def held(m: Written, x: Tensor) -> Tensor:
    """GELU as a factor that is held constant."""
    z = m.second(x)
    return m.pool(z * (functional.gelu(z) / z).detach())


# How the network is written, and the same with its factors held constant where it has any.
WAYS: dict[str, tuple[Middle, Middle | None]] = {
    "modules only": (lambda m, x: m.pool(m.relu(m.second(x))), None),
    "average pooling called as a function": (
        lambda m, x: functional.adaptive_avg_pool2d(m.relu(m.second(x)), 2),
        None,
    ),
    "a convolution called as a function": (
        lambda m, x: m.pool(m.relu(functional.conv2d(x, m.second.weight, padding=1))),
        None,
    ),
    "a residual sum, x + g(x)": (lambda m, x: m.pool(x + m.second(x)), None),
    "a layer used twice": (lambda m, x: m.pool(m.relu(m.second(m.relu(m.second(x))))), None),
    "a layer called with a keyword": (lambda m, x: m.pool(m.relu(m.second(input=x))), None),
    "GELU as a module": (lambda m, x: m.pool(m.gelu(m.second(x))), held),
    "GELU called as a function": (lambda m, x: m.pool(functional.gelu(m.second(x))), held),
    "a gate, x sigmoid(g(x))": (
        lambda m, x: m.pool(x * torch.sigmoid(m.second(x))),
        lambda m, x: m.pool(x * torch.sigmoid(m.second(x)).detach()),
    ),
}


def rows(*, with_rival: bool) -> list[Row]:
    """One row for each way of writing: worst error over the largest relevance, ours and theirs."""
    found: list[Row] = []
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    for name, (middle, constant) in WAYS.items():
        network = written(middle)
        right = input_times_gradient(written(constant or middle), images)
        explanation = relprop.explain(network, images, rules=relprop.Epsilon(EPSILON))
        theirs = _theirs(network, images, right) if with_rival else ""
        ours = error(explanation.relevance, right)
        found.append({"what": name, "relprop": ours, "zennit": theirs})
    return found


def written(middle: Middle) -> Written:
    """The network with the same weights each time, in float64."""
    torch.manual_seed(0)
    return Written(middle).double().eval().requires_grad_(False)


def input_times_gradient(network: Written, images: Tensor) -> Tensor:
    """Of each sample's predicted class, shaped like the images."""
    x = images.detach().requires_grad_()
    network(x).amax(1).sum().backward()
    assert x.grad is not None
    return x.detach() * x.grad


def error(relevance: Tensor, right: Tensor) -> str:
    """The largest difference over the largest relevance."""
    return f"{((relevance - right).abs().max() / right.abs().max()).item():.1e}"


def _theirs(network: Written, images: Tensor, right: Tensor) -> str:
    try:
        return error(rival_zennit.relevance(network, images, epsilon=EPSILON), right)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is the result
        return type(failure).__name__
