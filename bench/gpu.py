"""`python -m bench.gpu`: the same table on CUDA; where there is none, it says so, and no more."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from . import candidates, networks, report, rivals
from .candidates import GRADIENT, Candidate
from .goals import GOALS, NETWORKS
from .measure import Rounds, interleaved, progress
from .store import Row, Store, provenance, rounded

MIB = 2**20
PRECISIONS = ("float32", "tf32", "bf16")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, add to results.json, render it; without CUDA only a line that says so."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if not torch.cuda.is_available():
        print("bench.gpu: no CUDA device here, nothing to measure")
        return
    found = {} if options.no_rivals else rivals.load(options.rivals)
    store = Store(options.out / "results.json")
    store.begin(provenance("bench.gpu", list(arguments or sys.argv[1:]), found))
    for name in options.networks:
        for batch in options.batches:
            for numbers in options.precisions:
                for rows in measured(
                    name,
                    device="cuda",
                    numbers=numbers,
                    batch=batch,
                    rules=options.rules,
                    rounds=options.rounds,
                    with_rivals=not options.no_rivals,
                ):
                    store.add("gpu", rows)
                    print(*rows, sep="\n", flush=True)
    (options.out / "RESULTS.md").write_text(report.render(store))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Without options: the presets with a goal on two networks, in every precision."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=networks.names(), default=NETWORKS)
    parser.add_argument("--rules", nargs="+", choices=candidates.presets(), default=tuple(GOALS))
    parser.add_argument("--batches", nargs="+", type=int, default=(4, 32))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--rivals", type=Path, default=rivals.FOLDER, help="where other tools are")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return parser.parse_args(arguments)


def measured(
    name: str,
    *,
    device: str,
    numbers: str,
    batch: int,
    rules: Sequence[str],
    rounds: int,
    with_rivals: bool,
    side: int | None = None,
) -> Iterator[list[Row]]:
    """One list of rows for each rule: the gradient, ours plain and as a CUDA graph, and rivals."""
    dtype = torch.bfloat16 if numbers == "bf16" else torch.float32
    network = networks.load(name).to(device, dtype)
    images = networks.images(network, batch, side).to(device, dtype)
    where: Row = {"network": name, "batch": batch, "side": images.shape[-1], "precision": numbers}
    with tensor_cores(numbers == "tf32"):
        for rule in rules:
            progress(f"{name}, batch {batch}, {numbers}, {rule}")
            members = candidates.group(rule, with_rivals=with_rivals)
            members.insert(2, replace(members[1], graph=True))
            steps = {c.label: candidates.lazily(c, network, images) for c in members}
            found = interleaved(steps, rounds=rounds, finish=_finish(device))
            del steps
            gc.collect()
            rows = [{**where, **_row(member, rule, batch, found)} for member in members]
            for row, member in zip(rows, members, strict=True):
                if "failure" not in row:
                    row |= memory(member, network, images)
            yield rows


@contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """Whether float32 is rounded to tf32, in matrix products and convolutions alike."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _finish(device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _row(member: Candidate, rule: str, batch: int, found: Rounds) -> Row:
    row: Row = {"tool": member.tool, "rule": rule, "graph": member.graph}
    if member.label in found.failures:
        return {**row, "failure": found.failures[member.label]}
    ms, times = found.milliseconds(member.label), found.over(member.label, GRADIENT.label)
    row |= {"ms": rounded(ms), "images": rounded(1e3 * batch / ms)}
    row |= {name: rounded(getattr(times, name)) for name in ("middle", "low", "high")}
    return row | {"share": rounded(1 / times.middle)}


def memory(member: Candidate, network: nn.Module, images: Tensor) -> Row:
    """MiB of torch's allocator: kept between calls, and the second call's peak above that."""
    if images.device.type != "cuda":
        return {}
    before = torch.cuda.memory_allocated()
    step = candidates.prepare(member, network, images)
    step()
    gc.collect()
    start = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    peak = torch.cuda.max_memory_allocated()
    return {"kept": rounded((start - before) / MIB), "peak": rounded((peak - start) / MIB)}


if __name__ == "__main__":
    main()
