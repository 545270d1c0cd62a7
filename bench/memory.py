"""Peak memory of one candidate, in a process of its own: `python -m bench.memory NAME MODEL`."""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path

import torch
from torch import nn

from . import candidates, rival


def status(field: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS is what the process holds, VmHWM what it held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def main() -> None:
    """Print peak and kept MiB as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate")
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rivals", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.rivals:
        rival.load(options.rivals)
    small = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 2)).eval()
    candidates.one_of(options.candidate, small, candidates.images(1, 8))()  # what it imports
    step = candidates.one_of(
        options.candidate,
        candidates.model(options.model),
        candidates.images(options.batch, options.side),
    )
    gc.collect()
    before = status("VmRSS")
    step()  # what an Explainer keeps, and what kernels prepare once
    gc.collect()
    kept = status("VmRSS") - before
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to what is held now
    step()
    print(json.dumps({"peak": status("VmHWM") - before, "kept": kept}))


if __name__ == "__main__":
    main()
