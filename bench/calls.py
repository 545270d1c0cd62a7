"""The first call against a later one, what recording costs, importing, and many classes at once."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import time
from functools import partial
from statistics import median

import torch
from torch import nn

import relprop

from . import candidates, networks
from .candidates import FOLLOW, FORWARD, FORWARD_LAST, GRADIENT, RECORD, Candidate
from .measure import interleaved, progress, spread
from .store import Row, rounded


def first_call(name: str, *, rules: list[str], batch: int, side: int, rounds: int) -> list[Row]:
    """A new Explainer on a new copy of the network: its first call over later ones.

    A later one is the median of the next three. Kernels that the machine prepares for shapes
    are there already, as is what relprop imports.
    """
    network = networks.load(name)
    images = networks.images(network, batch, side)
    rows: list[Row] = []
    for rule in rules:
        progress(f"first call: {name}, {rule}")
        candidates.prepare(Candidate("relprop", rule), network, images)()
        firsts, laters = [], []
        for _ in range(rounds):
            seconds = _fresh(rule, network, images)
            firsts.append(seconds[0])
            laters.append(median(seconds[1:]))
        ratio = spread([first / later for first, later in zip(firsts, laters, strict=True)])
        row: Row = {"network": name, "batch": batch, "side": side, "rule": rule}
        row |= {"first_ms": rounded(1e3 * median(firsts)), "ms": rounded(1e3 * median(laters))}
        rows.append(row | {k: rounded(getattr(ratio, k)) for k in ("middle", "low", "high")})
    return rows


def _fresh(rule: str, network: nn.Module, images: torch.Tensor) -> list[float]:
    """Seconds of the first four calls."""
    step = candidates.prepare(Candidate("relprop", rule), copy.deepcopy(network), images)
    seconds = []
    for _ in range(4):
        gc.collect()
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def overhead(*, layers: int, rounds: int, seconds: float) -> list[Row]:
    """Microseconds an operation beyond the forward, where there is next to no arithmetic."""
    dense = networks.tiny_operations(layers).eval().requires_grad_(False)
    resnet = networks.load("resnet50")
    cases = {
        f"{layers} dense layers of width 4, each with a ReLU": (dense, torch.rand(1, 4) - 0.5),
        "resnet50 at 32 pixels": (resnet, networks.images(resnet, 1, 32)),
    }
    return [
        row
        for what, (network, batch) in cases.items()
        for row in overhead_of(what, network, batch, rounds, seconds)
    ]


def overhead_of(
    what: str, network: nn.Module, batch: torch.Tensor, rounds: int, seconds: float
) -> list[Row]:
    """The same for one network: its forward, gradient, recording and explanation."""
    progress(f"recording: {what}")
    operations = len(relprop.record(network, batch).operations)
    members = [FORWARD, FORWARD_LAST, GRADIENT, RECORD, FOLLOW, Candidate("relprop", "epsilon")]
    steps = {c.label: candidates.prepare(c, network, batch) for c in members}
    found = interleaved(steps, rounds=rounds, seconds=seconds)
    alone = {
        candidate: found.milliseconds((FORWARD_LAST if candidate == FOLLOW else FORWARD).label)
        for candidate in members
    }
    rows: list[Row] = []
    for candidate in members:
        ms = found.milliseconds(candidate.label)
        row: Row = {"what": what, "tool": candidate.tool, "rule": candidate.rule, "ms": rounded(ms)}
        extra = rounded(1e3 * (ms - alone[candidate]) / operations)
        rows.append({**row, "operations": operations, "microseconds": extra})
    return rows


def imports(*, rounds: int) -> list[Row]:
    """Seconds of `import torch`, and of `import relprop` after it, each in a new process."""
    progress("import")
    code = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); "
        "import relprop; c = time.perf_counter(); print(b - a, c - b)"
    )
    runs = []
    for _ in range(rounds + 1):  # the first one reads the files from disk
        printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        runs.append([float(figure) for figure in printed.stdout.split()])
    rows: list[Row] = []
    for what, column in zip(("torch", "relprop"), zip(*runs[1:], strict=True), strict=True):
        figures = spread(list(column))
        row: Row = {"what": what, "rounds": rounds}
        rows.append(row | {k: rounded(getattr(figures, k)) for k in ("middle", "low", "high")})
    return rows


def classes(name: str, *, rules: list[str], batch: int, rounds: int, seconds: float) -> list[Row]:
    """The relevance of all classes in one call, over that of one class."""
    network = networks.load(name)
    images = networks.images(network, batch)
    count = network(images).shape[1]
    rows: list[Row] = []
    for rule in rules:
        progress(f"all {count} classes: {name}, {rule}")
        explainer = relprop.Explainer(network, rules=rule)
        steps = {"one": partial(explainer, images), "all": partial(explainer, images, "all")}
        found = interleaved(steps, rounds=rounds, seconds=seconds)
        row: Row = {"network": name, "batch": batch, "rule": rule, "classes": count}
        if found.failures:
            rows.append({**row, "failure": next(iter(found.failures.values()))})
            continue
        ratio = found.over("all", "one")
        row |= {
            "one_ms": rounded(found.milliseconds("one")),
            "ms": rounded(found.milliseconds("all")),
        }
        rows.append(row | {k: rounded(getattr(ratio, k)) for k in ("middle", "low", "high")})
    return rows
