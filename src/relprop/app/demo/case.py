"""One explanation of the demo: timed, with the warnings that came with it."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

import relprop
from relprop.app.conservation import rounded
from relprop.errors import RelpropWarning


@dataclass(frozen=True)
class Case:
    """An explanation, the seconds that it took, and what it was warned of."""

    explanation: relprop.Explanation
    seconds: float
    warnings: tuple[str, ...]


def explained(explainer: relprop.Explainer, inputs: torch.Tensor, target: Any = None) -> Case:
    """Explains and keeps relprop's warnings instead of showing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RelpropWarning)
        start = time.perf_counter()
        explanation = explainer(inputs, target)
        seconds = time.perf_counter() - start
    texts = [str(w.message) for w in caught if issubclass(w.category, RelpropWarning)]
    return Case(explanation, seconds, tuple(dict.fromkeys(texts)))


def figures(case: Case, *index: int) -> list[str]:
    """Cells of a table: output, input relevance, bias, stabiliser, lost, gap, seconds."""
    totals = case.explanation.totals()
    columns = ("received", "passed", "bias", "stabiliser", "lost")
    cells = [f"{rounded(totals[name][index]):.4f}" for name in columns]
    gap = float(case.explanation.conservation_gap[index])
    return [*cells, f"{gap:.0e}", f"{case.seconds:.2f}"]


FIGURES = ["output", "input relevance", "bias", "stabiliser", "lost", "gap", "seconds"]


def all_warnings(cases: Iterable[Case]) -> list[str]:
    """The warnings, those that differ in their figures only as one, with how often each came."""
    kinds: dict[str, list[str]] = {}
    for text in (text for case in cases for text in case.warnings):
        kinds.setdefault(re.sub(r"[\d.]+", "0", text), []).append(text)
    worst = [max(texts, key=_largest_share) for texts in kinds.values()]
    return [
        text + (f" (the worst of {len(texts)} such)" if len(texts) > 1 else "")
        for text, texts in zip(worst, kinds.values(), strict=True)
    ]


def _largest_share(text: str) -> float:
    return max((float(number) for number in re.findall(r"([\d.]+)%", text)), default=0.0)
