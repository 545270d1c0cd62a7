"""Time: every candidate once a round, in turning order, in one process."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from relprop.errors import RelpropError

Step = Callable[[], Any]


@dataclass(frozen=True)
class Spread:
    """A figure of many rounds: its median and its quartiles."""

    middle: float
    low: float
    high: float


@dataclass
class Rounds:
    """Seconds of each round by candidate, and why those that failed did."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def milliseconds(self, name: str) -> float:
        """The median of one call."""
        return 1e3 * median(self.seconds[name])

    def over(self, name: str, unit: str) -> Spread:
        """One candidate over another within each round."""
        pairs = zip(self.seconds[name], self.seconds[unit], strict=True)
        return spread([mine / theirs for mine, theirs in pairs])


def spread(figures: list[float]) -> Spread:
    """Median and quartiles; of a single figure, that figure."""
    low, middle, high = (
        quantiles(figures, n=4, method="inclusive") if len(figures) > 1 else figures * 3
    )
    return Spread(middle, low, high)


def interleaved(
    steps: Mapping[str, Step],
    *,
    rounds: int,
    seconds: float = 0.0,
    finish: Callable[[], None] = lambda: None,
) -> Rounds:
    """Time every step once a round, in turning order, for as many rounds or seconds as given.

    What disturbs the machine for a while disturbs all of them, and leaves their ratios alone. A
    first call of each, not timed, makes plans, weight parts and kernels; a step that fails there is
    left out and named. `finish` waits for the device, where work runs on after the call.
    """
    found = Rounds()
    for name, step in steps.items():
        failure = failed(step)
        if failure is None:
            found.seconds[name] = []
        else:
            found.failures[name] = failure
    finish()
    gc.collect()
    gc.freeze()  # so that collecting between calls looks at what the calls left behind, and no more
    try:
        _run(found.seconds, steps, rounds, seconds, finish)
    finally:
        gc.unfreeze()
    return found


def failed(step: Step) -> str | None:
    """Call it; the kind of error where it fails, marked where it is our own."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
        kind = type(error).__name__
        return f"refused: {kind}" if isinstance(error, RelpropError) else kind
    return None


def _run(
    times: dict[str, list[float]],
    steps: Mapping[str, Step],
    rounds: int,
    seconds: float,
    finish: Callable[[], None],
) -> None:
    names = list(times)
    begin = time.perf_counter()
    turn = 0
    while turn < rounds or time.perf_counter() - begin < seconds:
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            gc.collect()
            start = time.perf_counter()
            steps[name]()
            finish()
            times[name].append(time.perf_counter() - start)
        turn += 1


def progress(text: str) -> None:
    """Say what goes on, on standard error and on one line where that is a terminal."""
    end = "\r\x1b[K" if sys.stderr.isatty() else "\n"
    print(text, end=end, file=sys.stderr, flush=True)
