"""Results are merged by what they measure, and rendered from JSON alone."""

import json
from pathlib import Path

import pytest

from bench import __main__ as program
from bench import figure, report
from bench.store import Store

RUN = {
    "date": "2026-01-02 03:04 UTC",
    "machine": "a processor, 2 cores",
    "threads": 2,
    "versions": {"relprop": "1", "torch": "2"},
    "command": "python -m bench",
}
PLACE = {"network": "vgg16", "batch": 4, "side": 224, "rule": "epsilon"}


def timed(tool: str, middle: float, **other: object) -> dict:
    row = {**PLACE, "tool": tool, "ms": 100.0 * middle, "rounds": 3}
    return {**row, "middle": middle, "low": middle - 0.1, "high": middle + 0.1, **other}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results.json")
    store.begin(RUN)
    zennit = timed("zennit", 2.4, ours_middle=2.3, ours_low=2.2, ours_high=2.4)
    captum = {**PLACE, "tool": "captum", "failure": "TypeError"}
    store.add("times", [timed("gradient", 1.0), timed("relprop", 1.04), zennit, captum])
    store.add(
        "arithmetic",
        [{**PLACE, "tool": "relprop", "done": 1.25, "floor": 1.0, "allocated": 1.5, "kept": 3}],
    )
    memory = {**PLACE, "first": 50.0, "kept": 7.0}
    store.add("memory", [{**memory, "tool": "gradient", "rule": "", "peak": 20.0}])
    store.add("memory", [{**memory, "tool": "relprop", "peak": 24.0, "kept": 9.0}])
    return store


def test_a_later_run_replaces_what_it_measures_and_nothing_else(store: Store) -> None:
    again = Store(store.path)
    again.begin({**RUN, "date": "2026-02-03 04:05 UTC"})
    again.add("times", [timed("relprop", 1.01)])
    rows = Store(store.path).of("times")
    assert [(row["tool"], row["run"]) for row in rows] == [
        ("gradient", "1"),
        ("relprop", "2"),
        ("zennit", "1"),
        ("captum", "1"),
    ]
    assert report.find(rows, tool="relprop")["middle"] == 1.01
    assert set(json.loads(store.path.read_text())["runs"]) == {"1", "2"}


def test_a_run_without_rows_left_is_forgotten(store: Store) -> None:
    again = Store(store.path)
    again.begin(RUN)
    for row in list(again.rows):
        again.add(row["section"], [{k: v for k, v in row.items() if k not in ("section", "run")}])
    assert set(json.loads(store.path.read_text())["runs"]) == {"2"}


def test_the_report_shows_times_floors_rivals_and_goals(store: Store) -> None:
    text = report.render(store)
    assert (
        "| epsilon | 1.00 | 1.25 | 1.04 (0.94 to 1.14) | 104 | 2.40 (2.30 to 2.50) "
        "| 2.30 (2.20 to 2.40) | TypeError |" in text
    )
    assert "| epsilon | vgg16 | 1.04 | 1.05 | 2.3 | 2.2 | 1.20 | 1.25 |" in text
    assert "| vgg16 | 4 | relprop epsilon | 24 | 1.20 | 9 | 1.22 | 50 | 1.50 | 3 |" in text
    assert "2026-01-02 03:04 UTC" in text
    assert "`python -m bench`" in text
    assert "On CUDA" not in text  # nothing was measured there


def test_another_size_stands_in_a_series(store: Store) -> None:
    store.add("times", [{**timed("relprop", 1.5), "side": 448}])
    store.add("times", [{**timed("gradient", 1.0), "side": 448, "ms": 400.0}])
    assert "| 4 | 448 | 400 | 1.50 (1.40 to 1.60) |" in report.render(store)


def test_the_picture_is_small(store: Store, tmp_path: Path) -> None:
    assert figure.draw(store, tmp_path / "results.png")
    assert 1000 < (tmp_path / "results.png").stat().st_size < 150_000


def test_the_program_measures_adds_and_renders(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = ["--networks", "lenet5", "--rules", "epsilon", "--batches", "1", "--rounds", "1"]
    common = ["--seconds", "0", "--threads", "1", "--no-rivals", "--out", str(tmp_path)]
    program.main(["--only", "times", "arithmetic", *narrow, *common])
    networks = {row["network"] for row in Store(store.path).of("times")}
    assert networks == {"vgg16", "lenet5"}
    assert (tmp_path / "RESULTS.md").read_text() in capsys.readouterr().out
    program.main(["--only", *common])  # renders again


def test_without_options_every_preset_and_network_is_timed() -> None:
    settings = program.settings(program.parse([]))
    full = [s for s in settings if s.with_rivals]
    assert {s.network for s in full} == {*program.NETWORKS, *program.OTHERS}
    assert {s.batch for s in settings if s.network == "vgg16"} == {1, 4, 16}
    assert {s.side for s in settings if s.network == "resnet50"} >= {64, 448}
    assert ("lenet5", 256) in {(s.network, s.batch) for s in full}
