"""What is measured: functions without arguments, each ready to be called again and again.

The unit is one gradient. Everything is timed as a user calls it: an explanation of ours records,
looks its plan up, walks and keeps the ledger, and finds its own target.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import relprop
from relprop.propagation.retrace import retrace

from . import rival_captum, rival_zennit, rivals
from .goals import GOALS
from .measure import Step

# Networks with random weights absorb much on the way; their maps are not looked at here.
warnings.simplefilter("ignore", relprop.errors.RelpropWarning)


@dataclass(frozen=True)
class Candidate:
    """A tool, and the preset of ours that it follows or comes nearest to."""

    tool: str
    rule: str = ""
    graph: bool = False  # captured as a CUDA graph

    @property
    def label(self) -> str:
        """As it stands in tables: "relprop thesis"."""
        return f"{self.tool} {self.rule}".strip() + (" as a CUDA graph" if self.graph else "")


GRADIENT = Candidate("gradient")
FORWARD = Candidate("forward")
FORWARD_LAST = Candidate("forward", "channels last")
RECORD = Candidate("record")
FOLLOW = Candidate("follow")  # the recording of an explainer's later calls


def presets() -> list[str]:
    """Every preset that ships; those with a goal first."""
    return [*GOALS, *(name for name in relprop.presets() if name not in GOALS)]


def group(rule: str, *, with_rivals: bool) -> list[Candidate]:
    """Everything that is timed together with one preset, the unit first."""
    found = [GRADIENT, Candidate("relprop", rule)]
    if with_rivals and rivals.has("zennit") and rule in rival_zennit.RULES:
        found.append(Candidate("zennit", rule))
    if with_rivals and rivals.has("captum") and rule in rival_captum.RULES:
        found.append(Candidate("captum", rule))
    return found


def prepare(candidate: Candidate, network: nn.Module, batch: Tensor) -> Step:
    """The candidate on a network and its inputs; what a tool needs once is built here."""
    if candidate.tool == "relprop":
        graph = candidate.graph
        explainer = relprop.Explainer(network, rules=candidate.rule, cuda_graph=graph)
        return lambda: explainer(batch)
    if candidate.tool == "zennit":
        return rival_zennit.explainer(candidate.rule, network, batch)
    if candidate.tool == "captum":
        return rival_captum.explainer(network, batch)
    if candidate.tool == "record":
        return lambda: relprop.record(network, batch)
    if candidate.tool == "follow":
        return follow(network, batch)
    if candidate.tool == "forward":
        last = candidate == FORWARD_LAST and batch.ndim == 4
        return forward(network, batch.to(memory_format=torch.channels_last) if last else batch)
    return gradient(network, batch)


def lazily(candidate: Candidate, network: nn.Module, batch: Tensor) -> Step:
    """As `prepare`, built at the first call: a tool that refuses a network does so there."""
    built: list[Step] = []

    def step() -> object:
        if not built:
            built.append(prepare(candidate, network, batch))
        return built[0]()

    return step


def forward(network: nn.Module, batch: Tensor) -> Step:
    """The model alone."""

    def step() -> Tensor:
        with torch.no_grad():
            output: Tensor = network(batch)
        return output

    return step


def follow(network: nn.Module, batch: Tensor) -> Step:
    """The model along the route that an explainer keeps, without the walk."""
    explainer = relprop.Explainer(network, "epsilon")
    explainer(batch)
    with torch.no_grad():
        _, route = explainer._routes.run(network, batch, explainer._options)
    return lambda: retrace(network, batch, route)


def gradient(network: nn.Module, batch: Tensor) -> Step:
    """The unit: forward, and backward to the input, of each sample's predicted class."""

    def step() -> Tensor:
        x = batch.detach().requires_grad_()
        output = network(x)
        output.gather(1, output.argmax(1, keepdim=True)).sum().backward()
        assert x.grad is not None
        return x.grad

    return step
