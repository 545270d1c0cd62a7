"""CheckpointComparison: what perturbation says about the checkpoints of one training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInput, UnknownName
from .curve import Curve
from .estimate import CONFIDENCE, RESAMPLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = {
    "over_random": "AOPC over random",
    "relative": "AOPC over random, as a share of the score",
    "score": "score of the class",
}

_ROWS = 100  # resamplings at a time

Numbers = np.ndarray


@dataclass(frozen=True)
class Bounded:
    """A figure and its 95 % interval from `low` to `high`, by bootstrap over images."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, eq=False)
class CheckpointComparison:
    """What `compare_checkpoints` measured, for K checkpoints and N images.

    - right: bool `[K, N]`, whether the checkpoint classifies the image rightly
    - curves: (checkpoint, method) -> Curve, most relevant first; random: checkpoint -> Curve
    - measured_elsewhere: the accuracies that were given, if any were
    """

    checkpoints: tuple[str, ...]
    methods: tuple[str, ...]
    right: Tensor
    curves: Mapping[tuple[str, str], Curve]
    random: Mapping[str, Curve]
    measured_elsewhere: Mapping[str, float] | None = None

    @property
    def accuracy(self) -> dict[str, float]:
        """Checkpoint -> share of images that are classified rightly; as given, where it was."""
        if self.measured_elsewhere is not None:
            return {name: float(self.measured_elsewhere[name]) for name in self.checkpoints}
        shares = self.right.double().mean(1).tolist()
        return dict(zip(self.checkpoints, shares, strict=True))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each method and checkpoint: accuracy, mean score f(x_0) of the class that is
        followed, AOPC over random, and that as a share of the mean score ("relative"). Figures in
        units of the output come with the bounds of their 95 % intervals.
        """
        rows = []
        for method in self.methods:
            bounded = {measure: self._bounded(measure, method) for measure in MEASURES}
            for place, name in enumerate(self.checkpoints):
                row: dict[str, Any] = {"method": method, "checkpoint": name}
                row |= {"images": self.right.shape[1], "accuracy": self.accuracy[name]}
                row["aopc"] = self.curves[name, method].aopc
                for measure, found in bounded.items():
                    value, low, high = found[:, place].tolist()
                    row |= {measure: value, f"{measure}_low": low, f"{measure}_high": high}
                rows.append(row)
        return rows

    @property
    def spearman(self) -> dict[str, Bounded]:
        """Method -> Spearman's correlation of accuracy and AOPC over random: `correlation`."""
        return {method: self.correlation(method) for method in self.methods}

    def correlation(self, method: str, measure: str = "over_random") -> Bounded:
        """Spearman's correlation over checkpoints of accuracy and a measure, from -1 to 1.

        The interval is that of other images: each resampling gives accuracy (where it was not
        given) and measure of all checkpoints anew. It says nothing about another training. NaN
        where all checkpoints are equal. Raises UnknownName; InvalidInput below 3 checkpoints.
        """
        if len(self.checkpoints) < 3:
            raise InvalidInput(
                f"a rank correlation needs 3 checkpoints at least; there are "
                f"{len(self.checkpoints)}"
            )
        found = _spearman(self._accuracies, self._resampled(measure, method))
        return Bounded(*_with_ends(found[:, None])[:, 0].tolist())

    def to_frame(self) -> Any:
        """The rows as a pandas table."""
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.rows)

    def figure(self, measure: str = "over_random") -> Figure:
        """A measure against accuracy: one line a method through the checkpoints in their order,
        with 95 % intervals. Raises UnknownName; RelpropError where matplotlib is missing.
        """
        from ..viz.figures import new_figure

        figure = new_figure(7.5, 4)
        ax = figure.subplots()
        accuracies = [100 * self.accuracy[name] for name in self.checkpoints]
        for method in self.methods:
            value, low, high = self._bounded(measure, method)
            errors = np.stack([value - low, high - value]).clip(min=0)
            ax.errorbar(accuracies, value, errors, label=method, marker="o", ms=4, lw=1, capsize=2)
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set_xlabel("accuracy (%)")
        ax.set_ylabel(MEASURES[measure])
        figure.legend(loc="outside right upper")
        return figure

    def __str__(self) -> str:
        lines = []
        for method in self.methods:
            lines.append(f"{method}: accuracy, AOPC over random, as a share of the score, score")
            for row in self.rows:
                if row["method"] == method:
                    shown = "  ".join(_shown(row, measure) for measure in MEASURES)
                    lines.append(f"  {row['checkpoint']:16} {row['accuracy']:7.2%}  {shown}")
            if len(self.checkpoints) > 2:
                found = (f"{m} {self.correlation(method, m)}" for m in MEASURES)
                lines.append(f"  Spearman's correlation with accuracy: {', '.join(found)}")
        return "\n".join(lines)

    def _bounded(self, measure: str, method: str) -> Numbers:
        """Value, low, high: `[3, K]`."""
        return _with_ends(self._resampled(measure, method))

    def _resampled(self, measure: str, method: str) -> Numbers:
        """A measure of all checkpoints, of the images as they are and of every resampling of them,
        `[1 + resamplings, K]`."""
        if measure not in MEASURES:
            raise UnknownName("measure", measure, MEASURES)
        if method not in self.methods:
            raise UnknownName("method", method, self.methods)
        scores = self._scores
        if measure == "score":
            return scores
        followed = [self.curves[name, method].per_image for name in self.checkpoints]
        chance = [self.random[name].per_image for name in self.checkpoints]
        gains = _means(torch.stack(followed) - torch.stack(chance))
        return gains / scores if measure == "relative" else gains

    @cached_property
    def _scores(self) -> Numbers:
        return _means(torch.stack([self.random[name].scores[0, :, 0] for name in self.checkpoints]))

    @cached_property
    def _accuracies(self) -> Numbers:
        if self.measured_elsewhere is None:
            return _means(self.right)
        given = np.array([self.accuracy[name] for name in self.checkpoints])
        return np.broadcast_to(given, (1 + RESAMPLES, len(given)))


def _means(values: Tensor) -> Numbers:
    """Means over images of `[K, N]`, as they are and for every resampling: `[1 + resamplings, K]`.

    The same images are drawn for all checkpoints and in every call.
    """
    columns = values.double().numpy().T
    images = len(columns)
    drawn = np.random.default_rng(0)
    shares = np.full(images, 1 / images)
    counts = (drawn.multinomial(images, shares, _ROWS) for _ in range(RESAMPLES // _ROWS))
    return np.concatenate([columns.mean(0)[None], *(rows @ columns / images for rows in counts)])


def _with_ends(found: Numbers) -> Numbers:
    """Of `[1 + resamplings, K]`: value, low and high, `[3, K]`. Resamplings without one are left
    out."""
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    if np.isnan(found).all():
        return np.full((3, found.shape[1]), np.nan)
    return np.concatenate([found[:1], np.nanquantile(found[1:], ends, axis=0)])


def _spearman(first: Numbers, second: Numbers) -> Numbers:
    """Spearman's correlation of each row of `[R, K]` with that of the other: `[R]`."""
    one, two = _ranks(first), _ranks(second)
    unknown = ~(np.isfinite(first).all(1) & np.isfinite(second).all(1))
    with np.errstate(invalid="ignore"):
        found = (one * two).sum(1) / np.sqrt((one**2).sum(1) * (two**2).sum(1))
    return np.where(unknown, np.nan, found)


def _ranks(values: Numbers) -> Numbers:
    """Ranks within each row, less their mean; ties share theirs."""
    below = (values[:, :, None] > values[:, None]).sum(2)
    same = (values[:, :, None] == values[:, None]).sum(2)
    ranks: Numbers = below + (same - 1) / 2
    return ranks - ranks.mean(1, keepdims=True)


def _shown(row: Mapping[str, Any], measure: str) -> str:
    return str(Bounded(*(row[f"{measure}{end}"] for end in ("", "_low", "_high"))))
