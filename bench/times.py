"""Times over a gradient, ours and the rivals', with the floor; and what an input's size costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from . import candidates, floor, networks
from .allocation import allocated
from .candidates import GRADIENT, Candidate
from .measure import Rounds, failed, interleaved, progress
from .store import Row, rounded


def table(
    name: str,
    *,
    rules: Sequence[str],
    batch: int,
    side: int,
    rounds: int,
    seconds: float,
    with_rivals: bool,
) -> Iterator[list[Row]]:
    """One list of rows for each rule: the gradient, ours and the rivals', timed together."""
    network = networks.load(name)
    images = networks.images(network, batch, side)
    where: Row = {"network": name, "batch": batch, "side": side}
    for rule in rules:
        progress(f"times: {name}, batch {batch}, {side} pixels, {rule}")
        members = candidates.group(rule, with_rivals=with_rivals)
        steps = {c.label: candidates.lazily(c, network, images) for c in members}
        found = interleaved(steps, rounds=rounds, seconds=seconds)
        del steps
        gc.collect()  # hooks and modules hold each other
        yield [{**where, **_row(candidate, rule, found)} for candidate in members]


def _row(candidate: Candidate, rule: str, found: Rounds) -> Row:
    label, ours = candidate.label, Candidate("relprop", rule).label
    row: Row = {"tool": candidate.tool, "rule": rule}
    if label in found.failures:
        return {**row, "failure": found.failures[label]}
    times = found.over(label, GRADIENT.label)
    row |= {"ms": rounded(found.milliseconds(label)), "rounds": len(found.seconds[label])}
    row |= {name: rounded(getattr(times, name)) for name in ("middle", "low", "high")}
    if candidate.tool not in ("gradient", "relprop") and ours in found.seconds:
        faster = found.over(label, ours)
        row |= {
            f"ours_{name}": rounded(getattr(faster, name)) for name in ("middle", "low", "high")
        }
    return row


def arithmetic(
    name: str, *, rules: Sequence[str], batch: int, side: int, with_rivals: bool
) -> Iterator[Row]:
    """What does not depend on the clock, of each rule and tool.

    floor: the multiplications that the rule needs, over a gradient's; done: those of a second call;
    allocated: the peak of a second call's tensors over a gradient's; kept: MiB of tensors that the
    first call leaves behind.
    """
    network = networks.load(name)
    images = networks.images(network, batch, side)
    where: Row = {"network": name, "batch": batch, "side": side}
    gradient = candidates.gradient(network, images)
    if failed(gradient):  # no network for images of this size: the table of times says so
        return
    unit = floor.done(gradient), allocated(gradient).peak
    for rule in rules:
        progress(f"multiplications: {name}, {rule}")
        for candidate in candidates.group(rule, with_rivals=with_rivals)[1:]:
            row: Row = {**where, "tool": candidate.tool, "rule": rule}
            yield {**row, **_counted(candidate, network, images, unit)}
        gc.collect()


def _counted(
    candidate: Candidate, network: nn.Module, images: Tensor, unit: tuple[int, int]
) -> Row:
    try:
        step = candidates.prepare(candidate, network, images)
        row: Row = {"kept": rounded(allocated(step).left / 2**20)}
        row["done"] = rounded(floor.done(step) / unit[0])
        row["allocated"] = rounded(allocated(step).peak / unit[1])
        if candidate.tool == "relprop":
            least = floor.floor(candidate.rule, network, images)
            row["floor"] = None if least is None else rounded(least)
    except Exception as error:  # noqa: BLE001 - the table of times says what it is
        return {"failure": type(error).__name__}
    return row
