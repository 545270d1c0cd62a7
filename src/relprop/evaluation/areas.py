"""Figures that need more than one curve, or read one in another way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from ..errors import InvalidInput
from .curve import Curve, check_comparable
from .estimate import Estimate, estimate


def abpc(morf: Curve, lerf: Curve) -> Estimate:
    """The area between the least-relevant-first and the most-relevant-first curve, per step.

    1 / (L + 1) times the mean over images of sum_k f(x_k, LeRF) - f(x_k, MoRF), the symmetric
    relevance gain (Bluecher et al. 2024): what all replacing costs alike cancels. In units of the
    output; larger is better, 0 is what a random order gets. Raises InvalidInput where the curves
    do not belong together.
    """
    _check_order(morf, "morf")
    _check_order(lerf, "lerf")
    check_comparable(morf, lerf)
    return estimate(morf.per_image - lerf.per_image)


def deletion(morf: Curve) -> Estimate:
    """The area under the curve while the most relevant goes first (Petsiuk et al. 2018).

    By the trapezoidal rule, over the share of steps from 0 to 1, in units of the output (there, a
    probability); smaller is better. Raises InvalidInput for another order.
    """
    _check_order(morf, "morf")
    return estimate(_area(morf))


def insertion(lerf: Curve) -> Estimate:
    """The area under the curve while a replaced image gets its most relevant regions back first.

    Read backwards, that is the least-relevant-first curve down to the last region, and has the same
    area (Petsiuk et al. 2018, there with a blur and a probability). In units of the output; larger
    is better. Raises InvalidInput for another order and for a curve that stops earlier.
    """
    _check_order(lerf, "lerf")
    regions = lerf.settings.get("regions")
    replaced = lerf.settings["steps"] * lerf.settings["per_step"]
    if regions is None or replaced < regions:
        raise InvalidInput(
            f"insertion starts from an image with all regions replaced; this curve stops after "
            f"{replaced} of {regions}: make it with steps=None"
        )
    return estimate(_area(lerf))


def rank_correlation(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """How far fills agree on which method is better: Spearman's correlation for each pair.

    `table`: fill -> method -> figure, such as the AOPC; the same methods for each fill. Returns
    fill -> fill -> correlation in [-1, 1]; 1 is the same ranking, NaN where all methods are equal.
    Ties share their mean rank. Raises InvalidInput where methods differ or are fewer than two.
    """
    names = list(table)
    methods = list(next(iter(table.values()))) if table else []
    for name in names:
        if set(table[name]) != set(methods):
            raise InvalidInput(
                f"{names[0]!r} has methods {sorted(methods)}, {name!r} has {sorted(table[name])}"
            )
    if len(methods) < 2:
        raise InvalidInput(f"a ranking needs two methods at least; there are {len(methods)}")
    ranks = {name: _ranks(np.array([table[name][m] for m in methods])) for name in names}
    return {one: {two: _cosine(ranks[one], ranks[two]) for two in names} for one in names}


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, less their mean."""
    below = (values[:, None] > values).sum(1)
    same = (values[:, None] == values).sum(1)
    ranks: np.ndarray = below + (same - 1) / 2
    return ranks - ranks.mean()


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    length = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / length if length else float("nan")


def _area(curve: Curve) -> Tensor:
    """By the trapezoidal rule for each image, `[N]`."""
    scores = curve.scores.double().mean(0)
    return ((scores[:, 1:] + scores[:, :-1]) / 2).mean(1)


def _check_order(curve: Curve, order: str) -> None:
    found = curve.settings.get("order")
    if found != order:
        raise InvalidInput(f"this needs a curve with order {order!r}; it was given {found!r}")
