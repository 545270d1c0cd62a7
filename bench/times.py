"""Times over a gradient, ours and the rivals', with the floor; and what an input's size costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from . import candidates, floor, networks
from .candidates import GRADIENT, Candidate
from .measure import Rounds, interleaved, progress
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
    """The floor of each rule, and the multiplications that each tool does, over a gradient's."""
    network = networks.load(name)
    images = networks.images(network, batch, side)
    where: Row = {"network": name, "batch": batch, "side": side}
    unit = floor.done(candidates.gradient(network, images))
    for rule in rules:
        progress(f"multiplications: {name}, {rule}")
        for candidate in candidates.group(rule, with_rivals=with_rivals)[1:]:
            row: Row = {**where, "tool": candidate.tool, "rule": rule}
            yield {**row, **_counted(candidate, network, images, unit)}
        gc.collect()


def _counted(candidate: Candidate, network: nn.Module, images: Tensor, unit: float) -> Row:
    """Of ours the floor too; of an Explainer its second call, for the first makes weight parts."""
    try:
        step = candidates.prepare(candidate, network, images)
        step()
        row: Row = {"done": rounded(floor.done(step) / unit)}
        if candidate.tool == "relprop":
            least = floor.floor(candidate.rule, network, images)
            row["floor"] = None if least is None else rounded(least)
    except Exception as error:  # noqa: BLE001 - the table of times says what it is
        return {"failure": type(error).__name__}
    return row
