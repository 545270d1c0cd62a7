"""The line that shows where the output went: output = relevance + bias + stabiliser + lost."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def rounded(figure: Tensor) -> float:
    """A figure to four digits behind the point, of which zero has no sign."""
    return round(float(figure), 4) + 0.0


def conservation_line(totals: Mapping[str, Tensor], *index: int) -> str:
    """One map's line, from the ledger's totals, `[N]` or `[N, K]`, at `index`.

    What was lost, and what is unaccounted for, are left out where they are zero to four digits of
    the output or of the relevance.
    """
    figures = {name: rounded(total[index]) for name, total in totals.items()}
    noise = 5e-5 * max(abs(figures["received"]), abs(figures["passed"]))
    text = f"output {figures['received']:.4f} = input relevance {figures['passed']:.4f}"
    for name in ("bias", "stabiliser", "lost"):
        if name != "lost" or abs(figures[name]) > noise:
            text += f" {'-' if figures[name] < 0 else '+'} {name} {abs(figures[name]):.4f}"
    if abs(figures["remainder"]) > noise:
        text += f"; unaccounted for {figures['remainder']:.4f}"
    return text
