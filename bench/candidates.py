"""What is measured: functions without arguments, each ready to be called again and again.

The unit is one gradient. Everything is timed as a user calls it: an explanation of ours records,
looks its plan up, walks and keeps the ledger, and finds its own target.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import relprop
from relprop import models

from . import rival

Step = Callable[[], Any]

# Networks with random weights absorb much on the way; their maps are not looked at here.
warnings.simplefilter("ignore", relprop.errors.RelpropWarning)

RULES: dict[str, Callable[[], Any]] = {
    "Epsilon": relprop.Epsilon,
    "ZPlus": relprop.ZPlus,
    "AlphaBeta(2, -1)": lambda: relprop.AlphaBeta(2, -1),
    "thesis": lambda: "thesis",
}


def model(name: str) -> nn.Module:
    """A network by its name in `relprop.models`, with random weights, frozen."""
    return models.load(name, pretrained=False).requires_grad_(False)


def images(batch: int, side: int = 224) -> Tensor:
    """Noise like preprocessed photographs: `[batch, 3, side, side]`, mean 0, deviation 1."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def gradient(network: nn.Module, batch: Tensor) -> Step:
    """The unit: forward, and backward to the input, of each sample's predicted class."""

    def step() -> Tensor:
        x = batch.detach().requires_grad_()
        output = network(x)
        output.gather(1, output.argmax(1, keepdim=True)).sum().backward()
        assert x.grad is not None
        return x.grad

    return step


def ours(rule: str, network: nn.Module, batch: Tensor) -> Step:
    """An explanation of each sample's predicted class, with an Explainer that is kept."""
    explainer = relprop.Explainer(network, rules=RULES[rule]())
    return lambda: explainer(batch)


def theirs(rule: str, network: nn.Module, batch: Tensor) -> Step:
    """The same with zennit, whose hooks stay on a copy of the modules between calls."""
    weights = {id(weight): weight for weight in network.parameters()}  # shared, not copied
    return rival.explainer(rule, copy.deepcopy(network, weights), batch)


def all_of(network: nn.Module, batch: Tensor, *, with_rival: bool) -> dict[str, Step]:
    """Every candidate by name, the gradient first."""
    steps = {"gradient": gradient(network, batch)}
    for rule in RULES:
        steps[f"relprop {rule}"] = ours(rule, network, batch)
        if with_rival:
            steps[f"zennit {rule}"] = theirs(rule, network, batch)
    return steps


def one_of(name: str, network: nn.Module, batch: Tensor) -> Step:
    """One candidate by the name that `all_of` gives it."""
    tool, _, rule = name.partition(" ")
    if tool == "gradient":
        return gradient(network, batch)
    return ours(rule, network, batch) if tool == "relprop" else theirs(rule, network, batch)
