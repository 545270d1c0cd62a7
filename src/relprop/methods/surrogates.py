"""What LIME and KernelSHAP are made of: choices of segments, and a linear model fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class WeightedRidge:
    """Least squares with weights and a penalty on the coefficients, as Captum wants a model.

    Minimises sum_k w_k (y_k - c - b x_k)^2 + alpha |b|^2; the constant c is free. Directions in
    which no sample differs get no coefficient.
    """

    def __init__(self, alpha: float):
        self.alpha = alpha
        self.coefficients = torch.empty(0)

    def fit(self, data: Any) -> None:
        """`data`: batches of x `[K, d]`, y `[K]` and weights `[K]`."""
        columns = [torch.cat(column).double() for column in zip(*data, strict=True)]
        x, y, weights = columns[0], columns[1].flatten(), columns[2].flatten()
        share = weights / weights.sum()
        x, y = x - share @ x, y - share @ y
        square = x.mT @ (weights[:, None] * x)
        square.diagonal().add_(self.alpha)
        self.coefficients = torch.linalg.pinv(square, hermitian=True) @ (x.mT @ (weights * y))

    def representation(self) -> Tensor:
        """The coefficients `[1, d]`."""
        return self.coefficients.float()[None]


def any_choice(generator: torch.Generator) -> Callable[..., Tensor]:
    """Every segment is there or not, with the same probability."""

    def draw(inputs: Tensor, **given: Any) -> Tensor:
        chosen = torch.rand(1, given["num_interp_features"], generator=generator) < 0.5
        return chosen.long().to(inputs.device)

    return draw


def shapley_choice(generator: torch.Generator) -> Callable[..., Iterator[Tensor]]:
    """All, none, then as many as the Shapley kernel asks for, p(k) ~ 1 / (k (d - k)), and the rest.

    A choice and what it leaves out together vary less than two choices (Covert and Lee 2021).
    """

    def draw(inputs: Tensor, **given: Any) -> Iterator[Tensor]:
        count = given["num_interp_features"]
        for ends in (torch.ones, torch.zeros):
            yield ends(1, count, dtype=torch.long, device=inputs.device)
        sizes = torch.arange(1, count, dtype=torch.float64)
        while count > 1:
            size = 1 + int(torch.multinomial(1 / (sizes * (count - sizes)), 1, generator=generator))
            chosen = torch.zeros(1, count, dtype=torch.long)
            chosen[0, torch.randperm(count, generator=generator)[:size]] = 1
            yield chosen.to(inputs.device)
            yield 1 - chosen.to(inputs.device)

    return draw


def differing(labels: Tensor, x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of the segments of x that differ from the reference, 0, 1, ..., and where these are.

    The others add nothing to any choice, so their value is zero and they are no segment of their
    own: they go with segment 0. All arguments have the shape of one sample.
    """
    count = int(labels.max()) + 1
    changed = labels[x != reference].bincount(minlength=count) > 0
    numbers = (changed.cumsum(0) - 1).clamp(min=0)
    if int(changed.sum()) == 1:  # which cannot be chosen from; with the others it can
        numbers = changed.long()
    return torch.where(changed, numbers, 0)[labels], changed[labels]
