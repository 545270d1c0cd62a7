"""What the ledger costs: an explainer with its sums switched off, beside one that keeps them.

Only to tell the two apart: without its figures conservation can't be measured, and relprop always
measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from relprop.propagation.layout import Layout
from relprop.propagation.operations.family import Context

from . import candidates, networks
from .candidates import GRADIENT, Candidate
from .measure import Step, interleaved, progress
from .store import Row, rounded


def rows(name: str, *, rules: list[str], batch: int, side: int, rounds: int) -> list[Row]:
    """Each rule over the gradient, with the ledger and without its sums."""
    network = networks.load(name)
    images = networks.images(network, batch, side)
    found: list[Row] = []
    for rule in rules:
        progress(f"ledger: {name}, {rule}")
        with_ledger = candidates.prepare(Candidate("relprop", rule), network, images)
        bare = candidates.prepare(Candidate("relprop", rule), network, images)

        def without(step: Step = bare) -> object:
            with without_sums():
                return step()

        steps = {
            GRADIENT.label: candidates.prepare(GRADIENT, network, images),
            "with": with_ledger,
            "without": without,
        }
        times = interleaved(steps, rounds=rounds)
        row: Row = {"network": name, "rule": rule, "batch": batch, "side": side, "rounds": rounds}
        for what in ("with", "without"):
            ratio = times.over(what, GRADIENT.label)
            row |= {what: rounded(ratio.middle), f"{what}_low": rounded(ratio.low)}
            row |= {f"{what}_high": rounded(ratio.high)}
        found.append(row)
    return found


@contextmanager
def without_sums() -> Iterator[None]:
    """The walk as it is, every figure of the ledger zero at no cost."""

    def nothing(self: Layout, *tensors: Tensor) -> Tensor:
        return torch.zeros(self.samples)

    def per_channel(self: Context, tensor: Tensor, value: object) -> Tensor:
        return torch.zeros(tensor.shape[:2])

    with (
        patch.object(Layout, "sum", nothing),
        patch.object(Layout, "inner", nothing),
        patch.object(Context, "channel_sums", per_channel),
    ):
        yield
