"""Captum's LRP beside us, as it comes: its EpsilonRule everywhere."""

from __future__ import annotations

import copy
from importlib import import_module

import torch
from torch import Tensor, nn

from .measure import Step

RULES = ("epsilon",)


def explainer(network: nn.Module, batch: Tensor) -> Step:
    """Captum's explanation of the predicted classes, which are found for it beforehand.

    On a copy with weights of its own: it loads the model's state anew after each call.
    """
    with torch.no_grad():
        target = network(batch).argmax(1)
    tool = import_module("captum.attr").LRP(copy.deepcopy(network))

    def step() -> Tensor:
        relevance: Tensor = tool.attribute(batch.detach().requires_grad_(), target=target)
        return relevance

    return step
