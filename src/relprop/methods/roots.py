"""Root points: where the explained output is zero, near an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidInput, NoRootFound
from .options import whole_number
from .subject import Subject

HALVINGS = 60  # of a line, at most; single precision is exhausted after some thirty
SMALLEST_STEP = 2.0**-10  # of the step after which a linear function would be zero
SMALLEST = 1e-30
Point = list[Tensor]  # one tensor for each real-valued input


@dataclass(frozen=True)
class Search:
    """When a point is a root, and after how many steps the search ends."""

    steps: int = 50
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        whole_number("taylor", "steps", self.steps)
        if not 0 < self.tolerance < 1:
            raise InvalidInput(f"tolerance must be between 0 and 1, got {self.tolerance!r}")


def descend(subject: Subject, weights: Tensor, search: Search) -> Point:
    """A root for each sample, by the steps along the gradient after which a linear f would be zero.

    A step that makes |f| larger is halved; where f changes its sign, the line between both points
    is searched. Raises NoRootFound, which says how close it came.
    """
    here = list(subject.floats)
    before = here  # on the side of x, where f has changed its sign since
    score, slope = subject.gradient(here, weights)
    begin, least = score, search.tolerance * score.abs()
    factor = torch.ones_like(score)
    for _ in range(search.steps):
        done = (score * begin < 0) | (score.abs() <= least)
        if bool(done.all()):
            break
        norm = _total([g.square() for g in slope])
        length = torch.where(done | (norm == 0), 0.0, factor * score / norm.clamp(min=SMALLEST))
        there = [x - _spread(length, x) * g for x, g in zip(here, slope, strict=True)]
        reached, new_slope = subject.gradient(there, weights)
        crosses = reached * begin < 0
        moves = ~done & (crosses | (reached.abs() < score.abs()))
        before = _choose(moves & crosses, here, before)
        here, slope = _choose(moves, there, here), _choose(moves, new_slope, slope)
        score = torch.where(moves, reached, score)
        factor = torch.where(moves, 1.0, (factor / 2).clamp(min=SMALLEST_STEP))
    crossed = score * begin < 0
    missed = ~crossed & (score.abs() > least)
    if bool(missed.any()):
        share = float((score.abs() / begin.abs())[missed].max())
        raise NoRootFound(
            f"no root of f near sample(s) {_listed(missed)} within {search.steps} steps along the "
            f"gradient: |f| came down to {share:.1%} of |f(x)|; give candidates= with samples of "
            "another class, root=, or more steps="
        )
    least = torch.where(crossed, least, torch.inf)
    return halve(subject, weights, _choose(crossed, before, here), here, least)


def towards(subject: Subject, weights: Tensor, candidates: Point, search: Search) -> Point:
    """A root for each sample, on the line to the nearest candidate whose f has the other sign.

    `candidates`: `[K, ...]`. Raises NoRootFound where f has the sign of f(x) at all of them.
    """
    if len(subject.floats) != len(subject.tensors):
        raise InvalidInput("candidates= needs inputs of real numbers only; give root=")
    x = subject.floats
    begin = subject.score(x, weights)
    outputs = subject.scores(candidates)
    chosen = []
    for sample, weight in enumerate(weights):
        scores = (outputs * weight).reshape(len(outputs), -1).sum(1)
        opposite = scores * begin[sample] <= 0
        if not bool(opposite.any()):
            raise NoRootFound(
                f"f(x) = {float(begin[sample]):.4g} for sample {sample}, and f has this sign at "
                f"all {len(scores)} candidates, so no root lies between; give samples of another "
                "class"
            )
        pairs = zip(candidates, x, strict=True)
        away = _total([(candidate - one[sample]).square() for candidate, one in pairs])
        chosen.append(int(torch.where(opposite, away, torch.inf).argmin()))
    far = [candidate[chosen] for candidate in candidates]
    return halve(subject, weights, x, far, search.tolerance * begin.abs())


def halve(subject: Subject, weights: Tensor, near: Point, far: Point, least: Tensor) -> Point:
    """Where |f| <= `least` `[N]` on the lines from `near` to `far`, between which f changes sign.

    Raises NoRootFound where f jumps over zero.
    """
    point, score = near, subject.score(near, weights)
    sign = score.sign()
    low, high = torch.zeros_like(least), torch.ones_like(least)
    for tries in range(HALVINGS):
        if bool((score.abs() <= least).all()):
            return point
        middle = (low + high) / 2 if tries else high
        tried = [n + _spread(middle, n) * (f - n) for n, f in zip(near, far, strict=True)]
        found = subject.score(tried, weights)
        closer = found.abs() < score.abs()
        point, score = _choose(closer, tried, point), torch.where(closer, found, score)
        same = found.sign() == sign
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    raise NoRootFound(
        f"f jumps over zero on the line searched for sample(s) {_listed(score.abs() > least)}; "
        "give another candidate, root=, or a larger tolerance="
    )


def _total(tensors: Sequence[Tensor]) -> Tensor:
    """`[N]`: all elements of each sample, summed over the tensors."""
    return torch.stack([tensor.reshape(len(tensor), -1).sum(1) for tensor in tensors]).sum(0)


def _spread(figures: Tensor, like: Tensor) -> Tensor:
    """Figures `[N]` beside a tensor `[N, ...]`."""
    return figures.reshape(-1, *[1] * (like.ndim - 1)).to(like)


def _choose(mask: Tensor, first: Sequence[Tensor], second: Sequence[Tensor]) -> Point:
    """For each sample the first point where the mask `[N]` is true, otherwise the second."""
    return [
        torch.where(mask.reshape(-1, *[1] * (one.ndim - 1)), one, other)
        for one, other in zip(first, second, strict=True)
    ]


def _listed(mask: Tensor) -> str:
    numbers = mask.nonzero().flatten().tolist()
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
