"""Comparison: the perturbation curves of several methods as one table and one figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from torch import Tensor

from .areas import abpc, rank_correlation
from .concentration import entropy, gini
from .curve import Curve

Key = tuple[str, str, str]  # fill, order, label


@dataclass(frozen=True, eq=False)
class Comparison:
    """Curves of several methods on the same images, with the same draws of noise.

    `curves`: (fill, order, label) -> Curve, with order "random" and label "random" for each fill;
    `heatmaps`: label -> `[N, H, W]`; `seconds`: label -> seconds an image.
    """

    curves: Mapping[Key, Curve]
    heatmaps: Mapping[str, Tensor]
    seconds: Mapping[str, float]

    @property
    def labels(self) -> list[str]:
        """The methods, as they were named."""
        return list(self.heatmaps)

    @property
    def fills(self) -> list[str]:
        """What regions were replaced by."""
        return list(dict.fromkeys(fill for fill, _, _ in self.curves))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each method and fill: AOPC, over random, LeRF, the area between and
        concentration; each area with the bounds of its 95 % interval.
        """
        return [self._row(fill, label) for fill in self.fills for label in self.labels]

    def _row(self, fill: str, label: str) -> dict[str, Any]:
        morf, lerf = self.curves[fill, "morf", label], self.curves[fill, "lerf", label]
        over, between = morf.over(self.curves[fill, "random", "random"]), abpc(morf, lerf)
        heatmaps = self.heatmaps[label]
        figures = {
            "aopc": morf.estimate,
            "over_random": over,
            "lerf": lerf.estimate,
            "abpc": between,
        }
        row: dict[str, Any] = {"method": label, "fill": fill, "images": len(heatmaps)}
        for name, figure in figures.items():
            row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        return row | {
            "gini": float(gini(heatmaps).mean()),
            "entropy": float(entropy(heatmaps).mean()),
        }

    def ranked(self, fill: str | None = None) -> list[dict[str, Any]]:
        """The rows of one fill (the first), the best method first by AOPC over random."""
        chosen = self.fills[0] if fill is None else fill
        rows = [row for row in self.rows if row["fill"] == chosen]
        return sorted(rows, key=lambda row: -row["over_random"])

    def agreement(self) -> dict[str, dict[str, float]]:
        """fill -> fill -> Spearman's rank correlation of the methods' AOPC over random.

        Raises InvalidInput for a single method.
        """
        table: dict[str, dict[str, float]] = {fill: {} for fill in self.fills}
        for row in self.rows:
            table[row["fill"]][row["method"]] = row["over_random"]
        return rank_correlation(table)

    def to_frame(self) -> Any:
        """The rows as a pandas table."""
        try:
            import pandas
        except ImportError:
            raise ImportError("Comparison.to_frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.rows)

    def __str__(self) -> str:
        lines = []
        for fill in self.fills:
            lines += [
                f"{fill}: AOPC over random, LeRF, area between the two curves (AOPC itself less "
                "LeRF), with 95 % intervals"
            ]
            for row in self.ranked(fill):
                shown = "  ".join(_shown(row, name) for name in ("over_random", "lerf", "abpc"))
                milliseconds = 1e3 * self.seconds[row["method"]]
                lines.append(f"  {row['method']:24} {shown}  {milliseconds:8.2f} ms an image")
        if len(self.fills) > 1 and len(self.labels) > 1:
            agreement = self.agreement()
            lines += [
                f"rank correlation of {one} and {other}: {agreement[one][other]:.2f}"
                for one, other in combinations(self.fills, 2)
            ]
        return "\n".join(lines)


def _shown(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:8.3g} ({row[f'{name}_low']:.3g} to {row[f'{name}_high']:.3g})"
