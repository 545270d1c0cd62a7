"""Time and memory: interleaved rounds in one process, peak memory in a process for each."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

Step = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call (median); its ratio to the unit (median and quartiles of rounds)."""

    milliseconds: float
    ratio: float
    low: float
    high: float


def interleaved(
    steps: dict[str, Step], *, rounds: int, finish: Callable[[], None] = lambda: None
) -> dict[str, Timing]:
    """Time every step once a round, in turning order; ratios are to the first step of that round.

    What disturbs the machine for a while disturbs all of them, and leaves their ratios alone.
    `finish` waits for the device, where work runs on after the call.
    """
    names = list(steps)
    for step in steps.values():  # plans, split weights, kernels
        step()
    finish()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        progress(f"round {turn + 1} of {rounds}")
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            start = time.perf_counter()
            steps[name]()
            finish()
            seconds[name].append(time.perf_counter() - start)
    unit = seconds[names[0]]
    return {name: _summary(times, unit) for name, times in seconds.items()}


def progress(text: str) -> None:
    """Say what goes on, on standard error and on one line where that is a terminal."""
    end = "\r\x1b[K" if sys.stderr.isatty() else "\n"
    print(text, end=end, file=sys.stderr, flush=True)


def _summary(times: list[float], unit: list[float]) -> Timing:
    ratios = [t / u for t, u in zip(times, unit, strict=True)]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return Timing(1e3 * median(times), median(ratios), low, high)


@dataclass(frozen=True)
class Memory:
    """MiB above what model and inputs take: the peak of a call, and what stays between calls."""

    peak: float
    kept: float


def memory(arguments: list[str]) -> Memory | None:
    """Run `python -m bench.memory` with these arguments; None where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    progress(f"memory of {arguments[0]}")
    command = [sys.executable, "-m", "bench.memory", *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return Memory(**json.loads(run.stdout.splitlines()[-1]))
