"""What the walk backwards through a fitted model is made of: decisions, walks, lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .shared import Floats, Shared

TAYLOR = "Taylor at a root"  # the rule of lines whose loss is what the first order leaves out


@dataclass(frozen=True, eq=False)
class Options:
    """How the models and steps of one explanation share relevance.

    Attributes:
        bias: "absorb", "distribute" (2.73) or "weights" (w_d^2 / ||w||^2, linear models only).
        candidates, root: what kernel machines seek roots among, or the roots themselves; in the
            space of the model's own input.
        reference: the value that a regression is explained relative to.
        centred: whether (x - mean) counts as a step's input; else the mean is a bias (D.1.1).
        epsilon: of the epsilon rule (2.22); None is 0 for steps and 1e-6 for neural networks.
    """

    bias: str = "absorb"
    candidates: Any = None
    root: Any = None
    reference: Any = None
    centred: bool = True
    epsilon: float | None = None


@dataclass(frozen=True, eq=False)
class Line:
    """One step of the walk, figures `[n]`: a row of the ledger before it is one."""

    module: str
    operation: str
    rule: str
    received: Floats
    passed: Floats
    bias: Floats
    stabiliser: Floats
    lost: Floats


@dataclass(frozen=True, eq=False)
class Walk:
    """Relevance that arrived at an input, the lines written on the way, output first.

    Attributes:
        relevance: `[n, d]` dense or sparse, or a list with one array for each sample.
        names: what the entries are called, where the walk knows: the tokens of each document.
    """

    relevance: Any
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    names: list[list[str]] | None = None

    def inside(self, module: str) -> Walk:
        """The same walk as a part of `module`."""
        named = (
            replace(line, module=f"{module}.{line.module}" if line.module else module)
            for line in self.lines
        )
        return replace(self, lines=tuple(named))


@dataclass(frozen=True, eq=False)
class Decided:
    """What a model said, and the way back from it.

    Attributes:
        scores: float64 `[n, K]`, by the model itself where it has such a function.
        names: K class labels, pairs of labels, or names of values.
        kind: "binary": one score, positive speaks for the second of two `classes`; "classes": a
            score a class; "pairs": a score a pair, positive speaks for its first; "values".
        back: weights `[n, K]` -> the walk that starts at weights * scores.
        predicted: the predicted class's index `[n]`, where it is not the largest score.
    """

    scores: Floats
    names: tuple[Any, ...]
    kind: Literal["binary", "classes", "pairs", "values"]
    back: Callable[[Floats], Walk]
    classes: tuple[Any, ...] = ()
    predicted: NDArray[np.intp] | None = None
    notes: tuple[str, ...] = ()


def line(module: str, operation: str, rule: str, received: Floats, shared: Shared) -> Line:
    """The line of one step."""
    absorbed = (shared.bias, shared.stabiliser, shared.lost)
    return Line(module, operation, rule, received, sums(shared.relevance), *absorbed)


def whole(relevance: Any) -> Shared:
    """All of it reached the inputs; dense or sparse."""
    nothing = np.zeros(relevance.shape[0])
    return Shared(relevance, nothing, nothing, nothing)


def sums(relevance: Any) -> Floats:
    """`[n]`: each sample's relevance in one number."""
    if isinstance(relevance, list):
        return np.array([float(np.sum(one)) for one in relevance])
    if sparse.issparse(relevance):
        return np.asarray(relevance.sum(axis=1), dtype=np.float64).ravel()
    return np.asarray(relevance.reshape(len(relevance), -1).sum(1), dtype=np.float64)


def magnitudes(relevance: Any) -> Floats:
    """`[n]`: the sum of each sample's |relevance|."""
    if isinstance(relevance, list):
        return sums([np.abs(one) for one in relevance])
    return sums(abs(relevance))


def added(parts: Sequence[Any]) -> Any:
    """Relevance of the same inputs by several ways, together."""
    if isinstance(parts[0], list):
        return [sum(pieces[1:], pieces[0]) for pieces in zip(*parts, strict=True)]
    if len({bool(sparse.issparse(part)) for part in parts}) == 2:
        parts = [part.toarray() if sparse.issparse(part) else part for part in parts]
    return sum(parts[1:], parts[0])


def together(walks: Sequence[Walk]) -> Walk:
    """Walks back to the same inputs as one."""
    return Walk(
        added([walk.relevance for walk in walks]),
        tuple(entry for walk in walks for entry in walk.lines),
        tuple(dict.fromkeys(note for walk in walks for note in walk.notes)),
        walks[0].names,
    )
