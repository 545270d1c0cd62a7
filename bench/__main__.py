"""`python -m bench`: what an explanation costs over one gradient on the CPU; bench/RESULTS.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from . import (
    calls,
    candidates,
    correctness,
    figure,
    ledger,
    memory,
    networks,
    report,
    rivals,
    times,
)
from .candidates import GRADIENT, RECORD
from .goals import GOALS, NETWORKS
from .store import Row, Store, provenance

OTHERS = ("googlenet", "densenet121", "efficientnet-lite0", "lenet5", "vit-b16")
SERIES = ("epsilon", "alpha2beta1")  # against batch and size


@dataclass(frozen=True)
class Setting:
    """One network, batch and size to be timed under some rules."""

    network: str
    rules: Sequence[str]
    batch: int
    side: int
    with_rivals: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, add it to results.json, and render it."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(options.threads)
    found = {} if options.no_rivals else rivals.load(options.rivals)
    store = Store(options.out / "results.json")
    if options.only:
        store.begin(provenance("bench", list(arguments or sys.argv[1:]), found))
    for name in options.only:
        SECTIONS[name](options, store)
    (options.out / "RESULTS.md").write_text(report.render(store))
    figure.draw(store, options.out / report.PICTURE)
    print((options.out / "RESULTS.md").read_text())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Without options everything is measured, as `settings` says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    narrow = "narrows times, arithmetic, memory and first to this"
    parser.add_argument(
        "--only",
        nargs="*",
        choices=SECTIONS,
        default=list(SECTIONS),
        help="sections to measure; none: render again",
    )
    parser.add_argument("--networks", nargs="+", choices=networks.names(), help=narrow)
    parser.add_argument("--rules", nargs="+", choices=candidates.presets(), help=narrow)
    parser.add_argument("--batches", nargs="+", type=int, help=f"{narrow}; usually 4")
    parser.add_argument("--sides", nargs="+", type=int, help=f"{narrow}, in pixels; usually 224")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="more rounds, until these are over"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rivals", type=Path, default=rivals.FOLDER, help="where other tools are")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace) -> list[Setting]:
    """What is timed.

    As narrowed; else every preset and rival on two networks, the presets with a goal on the others,
    and a series of batches and sizes without rivals.
    """
    found = _usual(options, NETWORKS, candidates.presets())
    if _narrowed(options):
        return found
    found += _usual(options, OTHERS, tuple(GOALS))
    found += [Setting(name, SERIES, batch, 224, False) for name in NETWORKS for batch in (1, 16)]
    return found + [Setting("resnet50", SERIES, 4, side, False) for side in (64, 128, 320, 448)]


def _usual(
    options: argparse.Namespace, names: Sequence[str], rules: Sequence[str]
) -> list[Setting]:
    """Networks at their usual batch and size under some rules, or whatever was asked for."""
    return [
        Setting(name, options.rules or rules, batch, side, not options.no_rivals)
        for name in options.networks or names
        for batch in options.batches or networks.usual(name)[:1]
        for side in options.sides or networks.usual(name)[1:]
    ]


def _narrowed(options: argparse.Namespace) -> bool:
    return bool(options.networks or options.rules or options.batches or options.sides)


def _times(options: argparse.Namespace, store: Store) -> None:
    for setting in settings(options):
        for rows in times.table(
            setting.network,
            rules=setting.rules,
            batch=setting.batch,
            side=setting.side,
            rounds=options.rounds,
            seconds=options.seconds,
            with_rivals=setting.with_rivals,
        ):
            _add(store, "times", rows)


def _arithmetic(options: argparse.Namespace, store: Store) -> None:
    for setting in settings(options):
        where = {"batch": setting.batch, "side": setting.side}
        if (
            setting.with_rivals or options.no_rivals
        ):  # a series has the multiplications of the first
            rules = setting.rules
            for row in times.arithmetic(
                setting.network, rules=rules, **where, with_rivals=setting.with_rivals
            ):
                _add(store, "arithmetic", [row])


def _memory(options: argparse.Namespace, store: Store) -> None:
    for setting in _usual(options, NETWORKS, tuple(GOALS)):
        where: Row = {"network": setting.network, "batch": setting.batch, "side": setting.side}
        members = [GRADIENT, RECORD]
        for rule in setting.rules:
            members += candidates.group(rule, with_rivals=setting.with_rivals)[1:]
        for member in members:
            figures = memory.measured(member, **where, folder=options.rivals)
            row = {**where, "tool": member.tool, "rule": member.rule, **figures}
            _add(store, "memory", [row])


def _ledger(options: argparse.Namespace, store: Store) -> None:
    for setting in _usual(options, NETWORKS, ("epsilon",)):
        where = {"batch": setting.batch, "side": setting.side, "rounds": options.rounds}
        _add(store, "ledger", ledger.rows(setting.network, rules=list(setting.rules), **where))


def _first(options: argparse.Namespace, store: Store) -> None:
    for setting in _usual(options, ("resnet50",), tuple(GOALS)):
        where = {"batch": setting.batch, "side": setting.side}
        rules = list(setting.rules)
        _add(store, "first", calls.first_call(setting.network, rules=rules, **where, rounds=5))


def _overhead(options: argparse.Namespace, store: Store) -> None:
    rows = calls.overhead(layers=200, rounds=options.rounds, seconds=options.seconds)
    _add(store, "overhead", rows)


def _import(options: argparse.Namespace, store: Store) -> None:
    _add(store, "import", calls.imports(rounds=5))


def _classes(options: argparse.Namespace, store: Store) -> None:
    common = {"rules": list(SERIES), "rounds": options.rounds, "seconds": options.seconds}
    for name, batch in (("lenet5", 16), ("small-1000", 1)):
        _add(store, "classes", calls.classes(name, batch=batch, **common))


def _right(options: argparse.Namespace, store: Store) -> None:
    with_rival = not options.no_rivals and rivals.has("zennit")
    _add(store, "right", correctness.rows(with_rival=with_rival))


def _add(store: Store, section: str, rows: list[Row]) -> None:
    """Saved at once: a run that is broken off keeps what it has."""
    store.add(section, rows)
    for row in rows:
        print(section, *(f"{name}={entry}" for name, entry in row.items()), flush=True)


SECTIONS: dict[str, Callable[[argparse.Namespace, Store], None]] = {
    "times": _times,
    "arithmetic": _arithmetic,
    "ledger": _ledger,
    "memory": _memory,
    "first": _first,
    "overhead": _overhead,
    "import": _import,
    "classes": _classes,
    "right": _right,
}


if __name__ == "__main__":
    main()
