"""Peak memory of one candidate, in a process of its own: `python -m bench.memory`.

Read from the process's resident memory, for every candidate alike. Before each reading, garbage is
collected and the C library gives back what it holds for later (malloc_trim), so that a reading is
what is in use. All figures are above what tool, model and inputs take before the first call:

- first: the peak of the first call
- kept: what is in use between calls: an Explainer's weight parts and plan, a rival's hooks, and
  kernels that were prepared
- peak: the peak of the second call, less what was kept when it began
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from . import candidates, networks, rivals
from .candidates import Candidate
from .measure import Step, failed, progress
from .store import Row, rounded

PEAK = Path("/proc/self/clear_refs")  # writing 5 sets the peak to what is held now


def measured(candidate: Candidate, network: str, batch: int, side: int, folder: Path) -> Row:
    """Run one candidate on one network in a new process.

    MiB `first`, `kept` and `peak`, or why there are none.
    """
    if not PEAK.exists():
        return {"failure": "this system does not tell"}
    progress(f"memory: {network}, {candidate.label}")
    arguments = [candidate.tool, candidate.rule, network, str(folder)]
    numbers = [batch, side, torch.get_num_threads()]
    command = [sys.executable, "-m", "bench.memory", *arguments, *map(str, numbers)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    found: Row = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("tool", "rule", "network", "rivals"):
        parser.add_argument(name)
    for name in ("batch", "side", "threads"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rivals.load(Path(options.rivals))
    candidate = Candidate(options.tool, options.rule)
    small = networks.load("residual")
    failed(candidates.lazily(candidate, small, networks.images(small, 1)))  # what the tool imports
    network = networks.load(options.network)
    batch = networks.images(network, options.batch, options.side)
    print(json.dumps(figures(candidate, network, batch)))


def figures(candidate: Candidate, network: nn.Module, batch: Tensor) -> Row:
    """MiB of the first call, kept, and of the second; or why it fails."""
    built: list[Step] = []
    failure = failed(lambda: built.append(candidates.prepare(candidate, network, batch)))
    before = in_use()
    PEAK.write_text("5")
    failure = failure or failed(lambda: built[0]())
    first, kept = status("VmHWM") - before, in_use() - before
    if failure is not None:
        return {"failure": failure}
    PEAK.write_text("5")
    built[0]()
    peak = status("VmHWM") - before - kept
    return {"first": rounded(first), "kept": rounded(kept), "peak": rounded(peak)}


def in_use() -> float:
    """MiB of the process's memory, without what is free in it."""
    gc.collect()
    # With another C library a reading includes what that holds back, for all alike.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return status("VmRSS")


def status(field: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS is what the process holds, VmHWM what it held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


if __name__ == "__main__":
    main()
