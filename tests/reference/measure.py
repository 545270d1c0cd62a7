"""What the tests measure: where relevance starts, how maps differ, what is unaccounted for."""

import torch
from torch import Tensor


def starting_at(output: Tensor, seed: int = 7) -> tuple[Tensor, Tensor]:
    """Weights for ``target=`` and the relevance, random, at which they make the walk start."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    weights = torch.where(output == 0, 0.0, start / output)
    return weights, weights * output


def difference(found: Tensor, wanted: Tensor) -> float:
    """The worst error of [N, ...] maps, each relative to its largest magnitude."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    largest = wanted.flatten(1).abs().amax(1).clamp(min=1e-300)
    return ((found - wanted).flatten(1).abs().amax(1) / largest).max().item()


def leaves(relevance) -> list[Tensor]:
    """The tensors of a relevance with the structure of its inputs."""
    if relevance is None:
        return []
    if isinstance(relevance, Tensor):
        return [relevance]
    parts = relevance.values() if isinstance(relevance, dict) else relevance
    return [leaf for part in parts for leaf in leaves(part)]


def gap(explanation, start: Tensor) -> float:
    """The conservation gap; ``start`` is what relevance started with, [N]."""
    totals = explanation.ledger.totals()
    absorbed = [totals[column].double() for column in ("bias", "stabiliser", "lost")]
    maps = [leaf.double().flatten(1) for leaf in leaves(explanation.relevance)]
    received = sum(leaf.sum(1) for leaf in maps)
    scale = torch.stack(
        [
            start.double().abs(),
            sum(leaf.abs().sum(1) for leaf in maps),
            sum(a.abs() for a in absorbed),
        ]
    ).amax(0)
    missing = (start.double() - received - sum(absorbed)).abs()
    return torch.where(missing == 0, 0.0, missing / scale).max().item()


def predicted(explanation) -> Tensor:
    """What relevance started with where one output neuron of each sample is explained, [N]."""
    output = explanation.output.double()
    target = torch.as_tensor(explanation.target)
    return output.gather(1, target.reshape(-1, 1)).reshape(-1)
