"""Results as JSON: rows by section, each with the run that it comes from; new rows replace old."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]

# What tells rows of a section apart; the other entries are figures.
IDENTITY = ("section", "network", "batch", "side", "tool", "rule", "what", "precision", "graph")


class Store:
    """Rows and the runs that they come from, in a file that later runs add to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = json.loads(path.read_text()) if path.exists() else {"runs": {}, "rows": []}
        self.runs: dict[str, dict[str, Any]] = kept["runs"]
        self.rows: list[Row] = kept["rows"]

    def begin(self, run: dict[str, Any]) -> None:
        """What is added from now on comes from this run."""
        self.current = str(max(map(int, self.runs), default=0) + 1)
        self.runs[self.current] = run

    def add(self, section: str, rows: Iterable[Row]) -> None:
        """Add rows, or replace those that measured the same, and save."""
        new = [{"section": section, "run": self.current, **row} for row in rows]
        known = {identity(row): place for place, row in enumerate(self.rows)}
        for row in new:
            place = known.get(identity(row))
            if place is None:
                known[identity(row)] = len(self.rows)
                self.rows.append(row)
            else:
                self.rows[place] = row
        self.save()

    def of(self, section: str) -> list[Row]:
        """The rows of a section."""
        return [row for row in self.rows if row["section"] == section]

    def save(self) -> None:
        """Write the rows, one a line, and the runs that still have some."""
        used = {row["run"] for row in self.rows}
        runs = {name: run for name, run in self.runs.items() if name in used}
        lines = ",\n".join(json.dumps(row) for row in self.rows)
        text = f'{{"runs": {json.dumps(runs, indent=1)},\n"rows": [\n{lines}\n]}}\n'
        self.path.write_text(text)


def identity(row: Row) -> tuple[Any, ...]:
    """What a row measures."""
    return tuple(row.get(name) for name in IDENTITY)


def rounded(figure: float) -> float:
    """Four digits: more is noise."""
    return float(f"{figure:.4g}")


def provenance(program: str, arguments: list[str], rivals: dict[str, str]) -> dict[str, Any]:
    """Date, machine, versions, command."""
    device = torch.cuda.get_device_name() if program.endswith("gpu") else processor()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{device}, {platform.system()} {platform.machine()}",
        "versions": {
            "relprop": version("relprop"),
            "torch": torch.__version__,
            "Python": platform.python_version(),
            **rivals,
        },
        "threads": torch.get_num_threads(),
        "command": shlex.join(["python", "-m", program, *arguments]),
    }


def processor() -> str:
    """The processor's name and how many of them there are."""
    name = platform.processor() or "processor of unknown name"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = named[0].partition(":")[2].strip() if named else name
    return f"{name}, {os.cpu_count()} cores"
