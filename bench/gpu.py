"""`python -m bench.gpu`: the same table on CUDA; where there is none, it says so, and no more."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from . import candidates, measure, report, rival

MIB = 2**20


def main() -> None:
    """Print the table; nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rivals", type=Path, help="folder with zennit; without it, ours alone")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench.gpu: no CUDA device here, nothing to measure")
        return
    with_rival = options.rivals is not None and rival.load(options.rivals)
    setting = f"batch {options.batch}, float32, random weights, {options.rounds} rounds"
    device = torch.cuda.get_device_name()
    print(
        report.provenance(device, rival=rival.version() if with_rival else None, setting=setting),
        report.HEADER,
        sep="\n\n",
    )
    for name in options.models:
        network = candidates.model(name).cuda()
        batch = candidates.images(options.batch).cuda()
        steps = candidates.all_of(network, batch, with_rival=with_rival)
        timings = measure.interleaved(steps, rounds=options.rounds, finish=torch.cuda.synchronize)
        del steps
        memories = {candidate: _memory(candidate, name, batch) for candidate in timings}
        print("\n".join(report.rows(name, timings, memories)), flush=True)


def _memory(candidate: str, name: str, batch: torch.Tensor) -> measure.Memory:
    """The allocator's own figures: one process is enough here."""
    step = candidates.one_of(candidate, candidates.model(name).cuda(), batch)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    step()
    kept = torch.cuda.memory_allocated() - before
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return measure.Memory((torch.cuda.max_memory_allocated() - before) / MIB, kept / MIB)


if __name__ == "__main__":
    main()
