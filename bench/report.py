"""The table of results, and the lines that say where it comes from."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from .measure import Memory, Timing

HEADER = (
    "| model | what | ms | over a gradient (quartiles) | peak MiB | over its | kept MiB |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
)


def rows(
    model: str, timings: dict[str, Timing], memories: Mapping[str, Memory | None]
) -> list[str]:
    """One line a candidate; the first one is the unit."""
    unit = memories.get(next(iter(timings)))
    lines = []
    for name, timing in timings.items():
        ratio = f"{timing.ratio:.2f} ({timing.low:.2f} to {timing.high:.2f})"
        cells = [model, name, f"{timing.milliseconds:.0f}", ratio]
        cells += _memory(memories.get(name), unit)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _memory(used: Memory | None, unit: Memory | None) -> list[str]:
    if used is None or unit is None:
        return ["", "", ""]
    return [f"{used.peak:.0f}", f"{used.peak / unit.peak:.2f}", f"{used.kept:.0f}"]


def provenance(device: str, *, rival: str | None, setting: str) -> str:
    """Machine, versions, date, setting."""
    versions = [f"relprop {version('relprop')}", f"torch {torch.__version__}"]
    versions += [f"zennit {rival}"] if rival else []
    return "\n".join(
        [
            f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"- machine: {device}, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}",
            f"- versions: {', '.join(versions)}",
            f"- setting: {setting}",
        ]
    )


def processor() -> str:
    """The processor's name and how many of them there are."""
    name = platform.processor() or "processor of unknown name"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = named[0].partition(":")[2].strip() if named else name
    return f"{name}, {os.cpu_count()} cores"
