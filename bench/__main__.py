"""`python -m bench`: what an explanation costs over one gradient on the CPU; bench/RESULTS.md."""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

import torch

from . import candidates, correctness, measure, report, rival

INTRODUCTION = """\
# What an explanation costs

Written by `make bench`. The unit is one gradient: forward, and backward to the input, parameters
frozen. Times are taken in one process, every candidate once a round in turning order; a ratio is
the median over rounds of the ratio within a round. An explanation is timed as a user calls it:
recording, plan, walk, ledger, target. Peak memory is taken in a process for each candidate, above
what the tool, the model and the images take; "kept" is what stays between calls (split weights,
plans, prepared kernels, and what the allocator holds back).
"""

CORRECTNESS = """
## Is it right, however the network is written?

Small networks without biases, of which the right relevance under the plain z-rule is known
(`bench/correctness.py`): the largest error over the largest relevance.
"""


def main() -> None:
    """Measure, print the table as it grows, and write it down."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=224, help="height and width of the images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rivals", type=Path, help="folder with zennit; without it, ours alone")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with_rival = options.rivals is not None and rival.load(options.rivals)
    setting = (
        f"batch {options.batch}, 3 x {options.side} x {options.side}, float32, random weights, "
        f"{options.threads} threads, {options.rounds} rounds"
    )
    source = report.provenance(
        report.processor(), rival=rival.version() if with_rival else None, setting=setting
    )
    print(source, report.HEADER, sep="\n\n", flush=True)
    lines: list[str] = []
    for name in options.models:
        new = _measure(name, options, with_rival)
        print("\n".join(new), flush=True)
        lines += new
    right = correctness.table(with_rival=with_rival)
    print("", *right, sep="\n")
    text = "\n".join([INTRODUCTION, source, "", report.HEADER, *lines, CORRECTNESS, *right, ""])
    options.out.write_text(text)
    print(f"\nwrote {options.out}")


def _measure(name: str, options: argparse.Namespace, with_rival: bool) -> list[str]:
    batch = candidates.images(options.batch, options.side)
    steps = candidates.all_of(candidates.model(name), batch, with_rival=with_rival)
    timings = measure.interleaved(steps, rounds=options.rounds)
    del steps
    gc.collect()  # hooks and modules hold each other
    memories: dict[str, measure.Memory | None] = {}
    if not options.no_memory:
        common = [name, "--batch", str(options.batch), "--side", str(options.side)]
        common += ["--threads", str(options.threads)]
        common += ["--rivals", str(options.rivals)] if with_rival else []
        memories = {candidate: measure.memory([candidate, *common]) for candidate in timings}
    return report.rows(name, timings, memories)


if __name__ == "__main__":
    main()
