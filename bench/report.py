"""RESULTS.md, rendered from results.json."""

from __future__ import annotations

from collections.abc import Iterable

from . import networks
from .goals import FIRST_CALL, GOALS, IMPORT, NETWORKS, RECORDING
from .store import Row, Store

WHO = ("network", "batch", "side", "tool", "rule")
PICTURE = "results.png"

INTRODUCTION = f"""\
# What an explanation costs

Written by `make bench` from the figures in `results.json`; a run of `python -m bench --only ...`
replaces what it measures and leaves the rest. Weights are random, numbers float32.

The unit is one gradient: forward, and backward to the input, parameters frozen. Times are taken in
one process, a gradient, an explanation of ours and those of other tools once a round, in turning
order; a ratio is taken within each round, and shown as the median over rounds with the quartiles.
An explanation is timed as a user calls it: recording, plan, walk, ledger, target. An error's name
instead of a number: that tool does not explain that network; "refused" is our own error.

![Ratios and floors]({PICTURE})
"""

WAYS = ("with", "without")


def render(store: Store) -> str:
    """The whole report; sections without rows are left out."""
    parts = [INTRODUCTION, *_runs(store), *_goals(store), *_times(store), *_series(store)]
    parts += [*_ledger(store), *_memory(store), *_first(store), *_overhead(store), *_imports(store)]
    parts += [*_classes(store), *_right(store), *_gpu(store)]
    return "\n".join(parts)


def table(columns: list[str], rows: Iterable[list[str]], *, words: int = 1) -> str:
    """A Markdown table; all but the first `words` columns are figures."""
    rule = ["---"] * words + ["---:"] * (len(columns) - words)
    return "".join(f"| {' | '.join(line)} |\n" for line in [columns, rule, *rows])


def ratio(row: Row | None, prefix: str = "") -> str:
    """Median and quartiles, or why there are none."""
    if row is None or (prefix and f"{prefix}middle" not in row):
        return ""
    if "failure" in row:
        return str(row["failure"])
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    return f"{row[f'{prefix}middle']:.2f} ({low:.2f} to {high:.2f})"


def find(rows: Iterable[Row], **wanted: object) -> Row | None:
    """The first row with these entries."""
    matches = (r for r in rows if all(r.get(name) == entry for name, entry in wanted.items()))
    return next(matches, None)


def number(row: Row | None, name: str, form: str = ".2f") -> str:
    """A figure of a row, where there is one."""
    figure = None if row is None else row.get(name)
    return "" if figure is None else format(figure, form)


def _from(rows: Iterable[Row]) -> str:
    """Which runs rows come from."""
    runs = sorted({row["run"] for row in rows}, key=int)
    return f"(run {', '.join(runs)})"


def _runs(store: Store) -> list[str]:
    used = {row["run"] for row in store.rows}
    rows = []
    for name, run in sorted(store.runs.items(), key=lambda item: int(item[0])):
        versions = ", ".join(f"{tool} {version}" for tool, version in run["versions"].items())
        entries = [name, run["date"], run["machine"], str(run["threads"]), versions]
        rows += [[*entries, f"`{run['command']}`"]] if name in used else []
    columns = ["run", "date", "machine", "threads", "versions", "command"]
    return ["## Runs\n", table(columns, rows, words=6)]


def _goals(store: Store) -> list[str]:
    times, memory = store.of("times"), store.of("memory")
    rows = []
    for rule, goal in GOALS.items():
        for name in NETWORKS:
            batch, side = networks.usual(name)
            where = {"network": name, "batch": batch, "side": side}
            ours = find(times, **where, tool="relprop", rule=rule)
            theirs = find(times, **where, tool="zennit", rule=rule)
            faster = "" if goal.faster is None else f"{goal.faster:.1f}"
            peak = _over_gradient(memory, find(memory, **where, tool="relprop", rule=rule))
            cells = [number(ours, "middle"), f"{getattr(goal, name):.2f}"]
            cells += [number(theirs, "ours_middle", ".1f"), faster, peak, f"{goal.peak:.2f}"]
            rows.append([rule, name, *cells])
    columns = ["preset", "network", "time", "at most", "zennit over ours", "at least"]
    columns += ["peak memory", "at most"]
    return ["## Against the goals\n", table(columns, rows, words=2)] if times else []


def _times(store: Store) -> list[str]:
    parts = []
    for name in dict.fromkeys(row["network"] for row in store.of("times")):
        batch, side = networks.usual(name)
        where = {"network": name, "batch": batch, "side": side}
        rows = [row for row in store.of("times") if find([row], **where)]
        if not rows:
            continue
        unit = number(find(rows, tool="gradient"), "ms", ".0f")
        title = f"{name}, batch {batch}, {side} pixels: a gradient takes {unit} ms"
        parts.append(f"### {title} {_from(rows)}\n")
        counted = [row for row in store.of("arithmetic") if find([row], **where)]
        lines = [_time_line(rows, counted, rule) for rule in dict.fromkeys(r["rule"] for r in rows)]
        columns = ["preset", "floor", "multiplications", "relprop", "ms", "zennit"]
        columns += ["zennit over ours", "Captum"]
        parts.append(table(columns, lines))
    return ["## Times over a gradient\n", FLOOR, *parts] if parts else []


FLOOR = """\
The floor is what the rule's multiplications cost at least if convolutions and matrix products were
all (`bench/floor.py` says what is counted); "multiplications" are those that a call of ours really
does, over a gradient's.
"""


def _time_line(rows: list[Row], counted: list[Row], rule: str) -> list[str]:
    ours = find(rows, tool="relprop", rule=rule)
    theirs = find(rows, tool="zennit", rule=rule)
    least = find(counted, tool="relprop", rule=rule)
    cells = [rule, number(least, "floor"), number(least, "done"), ratio(ours)]
    cells += [number(ours, "ms", ".0f"), ratio(theirs), ratio(theirs, "ours_")]
    return [*cells, ratio(find(rows, tool="captum", rule=rule))]


def _series(store: Store) -> list[str]:
    """Networks that were timed with another batch or size than usual."""
    parts = []
    for name in dict.fromkeys(row["network"] for row in store.of("times")):
        rows = [row for row in store.of("times") if row["network"] == name]
        settings = sorted({(row["side"], row["batch"]) for row in rows})
        unusual = [row for row in rows if (row["batch"], row["side"]) != networks.usual(name)]
        rules = list(dict.fromkeys(row["rule"] for row in unusual))
        lines = []
        for side, batch in settings:
            here = [row for row in rows if (row["side"], row["batch"]) == (side, batch)]
            ratios = [ratio(find(here, tool="relprop", rule=rule)) for rule in rules]
            unit = number(find(here, tool="gradient"), "ms", ".0f")
            lines.append([str(batch), str(side), unit, *ratios])
        columns = ["batch", "pixels", "gradient, ms", *rules]
        parts += [f"### {name} {_from(rows)}\n", table(columns, lines, words=0)] if rules else []
    return ["## Cost against batch and size, over a gradient\n", *parts] if parts else []


def _over_gradient(memory: list[Row], row: Row | None, *figures: str) -> str:
    """The sum of these figures, of the peak alone where none are named, over the gradient's."""
    if row is None or "peak" not in row:
        return ""
    figures = figures or ("peak",)
    where = {name: row[name] for name in ("network", "batch", "side")}
    unit = find(memory, **where, tool="gradient")
    if unit is None or "peak" not in unit:
        return ""
    mine, theirs = (sum(entry[name] for name in figures) for entry in (row, unit))
    return f"{mine / theirs:.2f}"


MEMORY = """\
Resident memory of a process for each, above what tool, model and images take, after the C library
has given back what it holds for later. "Peak" is that of the second call less what is kept between
calls: for ours an Explainer's weight parts and plan, for the gradient and all others what their
kernels prepared. "Together" is both, over both of the gradient's. `record` keeps everything; that
and the first call are shown for information. "Tensors" are what torch's allocator counts at the
peak of a second call, over the gradient's, and "kept" what the first call leaves: the kernels' own
memory is not among them, and they are the same on every run.
"""


def _memory(store: Store) -> list[str]:
    rows = store.of("memory")
    lines = []
    for row in rows:
        cells = [row["network"], str(row["batch"]), f"{row['tool']} {row['rule']}".strip()]
        if "failure" in row:
            lines.append([*cells, row["failure"], *[""] * 6])
            continue
        cells += [number(row, "peak", ".0f"), _over_gradient(rows, row), number(row, "kept", ".0f")]
        cells += [_over_gradient(rows, row, "peak", "kept"), number(row, "first", ".0f")]
        tensors = find(store.of("arithmetic"), **{name: row[name] for name in WHO})
        lines.append([*cells, number(tensors, "allocated"), number(tensors, "kept", ".0f")])
    columns = ["network", "batch", "what", "peak MiB", "over a gradient's", "kept MiB", "together"]
    columns += ["first call's peak MiB", "tensors, over a gradient's", "tensors kept MiB"]
    text = table(columns, lines, words=3)
    return [f"## Peak memory {_from(rows)}\n", MEMORY, text] if rows else []


def _first(store: Store) -> list[str]:
    rows = store.of("first")
    lines = [
        [
            row["network"],
            row["rule"],
            number(row, "first_ms", ".0f"),
            number(row, "ms", ".0f"),
            ratio(row),
        ]
        for row in rows
    ]
    text = (
        "A new Explainer on a new copy of the network: recording, plan and weight parts. The goal "
        f"for ResNet-50 is {FIRST_CALL}.\n"
    )
    columns = ["network", "preset", "first call, ms", "later, ms", "over a later one"]
    title = f"## The first call {_from(rows)}\n"
    return [title, text, table(columns, lines, words=2)] if rows else []


def _ledger(store: Store) -> list[str]:
    rows = store.of("ledger")
    lines = [
        [
            *(row["network"], row["rule"]),
            *(f"{row[w]:.2f} ({row[f'{w}_low']:.2f} to {row[f'{w}_high']:.2f})" for w in WAYS),
        ]
        for row in rows
    ]
    text = (
        "The sums that the ledger books for every operation, switched off for the measurement "
        "only: relprop always makes them. Over one gradient.\n"
    )
    title = f"## What the ledger costs {_from(rows)}\n"
    columns = ["network", "preset", "with its sums", "without"]
    return [title, text, table(columns, lines, words=2)] if rows else []


def _overhead(store: Store) -> list[str]:
    rows = store.of("overhead")
    lines = [
        [
            *(row["what"], f"{row['tool']} {row['rule']}".strip(), str(row["operations"])),
            *(number(row, "ms", ".1f"), number(row, "microseconds", ".1f")),
        ]
        for row in rows
    ]
    text = (
        "What a call takes beyond the model's forward, for each recorded operation, where "
        f"arithmetic is next to nothing. The goal for recording is {RECORDING} microseconds: an "
        "explainer's later calls `follow` the route of the first (beside a forward with channels "
        "last, as they run), `record` and first calls record in full.\n"
    )
    columns = ["network", "call", "operations", "ms", "microseconds an operation"]
    title = f"## Recording {_from(rows)}\n"
    return [title, text, table(columns, lines, words=2)] if rows else []


def _imports(store: Store) -> list[str]:
    rows = store.of("import")
    lines = [[f"`import {row['what']}`", ratio(row)] for row in rows]
    text = f"In a new process each; relprop after torch, of which the goal is {IMPORT} s.\n"
    title = f"## Importing {_from(rows)}\n"
    return [title, text, table(["", "seconds"], lines)] if rows else []


def _classes(store: Store) -> list[str]:
    rows = store.of("classes")
    lines = [
        [
            *(row["network"], row["rule"], str(row["batch"]), str(row["classes"])),
            *(number(row, "one_ms", ".1f"), number(row, "ms", ".1f"), ratio(row)),
        ]
        for row in rows
    ]
    columns = ["network", "preset", "batch", "classes", "one, ms", "all, ms", "over one class"]
    title = f"## All classes at once {_from(rows)}\n"
    return [title, table(columns, lines, words=2)] if rows else []


RIGHT = """\
Small networks without biases, of which the right relevance under the plain z-rule is known
(`bench/correctness.py`): the largest error over the largest relevance.
"""


def _right(store: Store) -> list[str]:
    rows = store.of("right")
    lines = [[row["what"], row["relprop"], row["zennit"]] for row in rows]
    title = f"## Is it right, however the network is written? {_from(rows)}\n"
    return (
        [title, RIGHT, table(["how the network is written", "relprop", "zennit"], lines)]
        if rows
        else []
    )


def _gpu(store: Store) -> list[str]:
    rows = store.of("gpu")
    lines = []
    for row in rows:
        cells = [row["network"], str(row["batch"]), row["precision"], "yes" if row["graph"] else ""]
        cells += [f"{row['tool']} {row['rule']}".strip(), number(row, "ms", ".2f")]
        cells += [number(row, "images", ".0f"), ratio(row), number(row, "share", ".0%")]
        lines.append([*cells, number(row, "peak", ".0f"), number(row, "kept", ".0f")])
    columns = ["network", "batch", "numbers", "graph", "what", "ms", "images a second"]
    columns += ["over a gradient", "of its throughput", "peak MiB", "kept MiB"]
    return [f"## On CUDA {_from(rows)}\n", table(columns, lines, words=5)] if rows else []
