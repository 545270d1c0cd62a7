"""Every measuring function runs on small networks and yields rows that make sense."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bench import (
    allocation,
    calls,
    candidates,
    correctness,
    floor,
    gpu,
    measure,
    memory,
    networks,
    times,
)
from bench.candidates import Candidate

# Networks with random weights absorb much on the way; nobody looks at their maps here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


@pytest.fixture
def lenet() -> nn.Module:
    return networks.load("lenet5")


def ordered(row: dict) -> bool:
    return 0 < row["low"] <= row["middle"] <= row["high"]


# LeNet-5, one image, by hand: output positions x kernel x channels in x channels out.
LAYERS = [28 * 28 * 25 * 1 * 10, 10 * 10 * 25 * 10 * 25, 2 * 2 * 16 * 25 * 100, 100 * 10]


def test_products_are_those_counted_by_hand(lenet: nn.Module) -> None:
    found = floor.products(lenet, networks.images(lenet, 3))
    assert [product.multiplications for product in found] == [3 * count for count in LAYERS]
    assert [product.nonnegative for product in found] == [False, True, True, True]


def test_gamma_needs_one_side_alone_below_a_relu(lenet: nn.Module) -> None:
    needed = (
        3 * LAYERS[0] + 3 * LAYERS[1] + 3 * LAYERS[2] + 4 * LAYERS[3]
    )  # Box first, no ReLU last
    found = floor.floor("epsilon-gamma-box", lenet, networks.images(lenet, 2))
    assert found == pytest.approx(needed / (2 * sum(LAYERS)), rel=1e-12)


# Forwards of the first layer, whose input has both signs, and of the others.
@pytest.mark.parametrize(
    ("preset", "first", "others"),
    [
        ("z", 2, 2),
        ("epsilon", 2, 2),
        ("alpha1beta0", 4, 3),
        ("alpha2beta1", 4, 4),
        ("thesis", 1, 4),
        ("thesis-alpha1", 1, 3),
        ("deep-taylor", 2, 3),
    ],
)
def test_floor_is_that_counted_by_hand(
    lenet: nn.Module, preset: str, first: int, others: int
) -> None:
    needed = first * LAYERS[0] + others * sum(LAYERS[1:])
    found = floor.floor(preset, lenet, networks.images(lenet, 2))
    assert found == pytest.approx(needed / (2 * sum(LAYERS)), rel=1e-12)


def test_multiplications_of_a_gradient_are_two_forwards(lenet: nn.Module) -> None:
    images = networks.images(lenet, 2)
    assert floor.done(candidates.forward(lenet, images)) == 2 * sum(LAYERS)
    assert floor.done(candidates.gradient(lenet, images)) == 4 * sum(LAYERS)


@pytest.mark.parametrize("preset", candidates.presets())
def test_no_preset_does_less_than_its_floor(lenet: nn.Module, preset: str) -> None:
    images = networks.images(lenet, 2)
    step = candidates.prepare(Candidate("relprop", preset), lenet, images)
    unit = floor.done(candidates.gradient(lenet, images))
    least = floor.floor(preset, lenet, images)
    assert least is not None
    assert floor.done(step) / unit >= least - 1e-12


def test_attention_has_no_floor() -> None:
    network = networks.vit(layers=1).eval().requires_grad_(False)
    assert floor.floor("epsilon", network, networks.images(network, 1)) is None


def test_a_ratio_is_taken_within_its_round() -> None:
    rounds = measure.Rounds({"unit": [1.0, 10.0, 2.0], "ours": [2.0, 30.0, 8.0]})
    assert rounds.over("ours", "unit") == measure.Spread(3.0, 2.5, 3.5)


def test_what_fails_is_named_and_left_out() -> None:
    def refuse() -> None:
        raise ValueError("no")

    found = measure.interleaved({"unit": lambda: None, "other": refuse}, rounds=2)
    assert found.failures == {"other": "ValueError"}
    assert len(found.seconds["unit"]) == 2


def test_times_and_multiplications() -> None:
    where = {"rules": ["thesis"], "batch": 2, "side": 32, "with_rivals": False}
    ((unit, ours),) = times.table("lenet5", **where, rounds=3, seconds=0.0)
    assert (unit["tool"], ours["tool"]) == ("gradient", "relprop")
    assert unit["middle"] == 1
    assert ordered(ours)
    assert ours["rounds"] == 3
    (row,) = times.arithmetic("lenet5", **where)
    assert row["done"] >= row["floor"] > 1
    assert row["allocated"] > 0
    assert row["kept"] >= 0


def test_allocated_bytes_are_counted() -> None:
    kept = []
    found = allocation.allocated(lambda: kept.append(torch.empty(1000)) or torch.empty(500).neg())
    assert (found.peak, found.left) == (4000 + 2 * 2000, 4000)


def test_what_a_tool_refuses_stands_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "load", lambda name: networks.vit(layers=1).eval())
    where = {"rules": ["epsilon"], "batch": 1, "side": 224, "with_rivals": False}
    ((unit, ours),) = times.table("vit-b16", **where, rounds=1, seconds=0.0)
    assert "failure" not in unit
    assert ours["failure"] == "refused: UnsupportedOperation"


def test_first_call() -> None:
    (row,) = calls.first_call("lenet5", rules=["epsilon"], batch=1, side=32, rounds=2)
    assert ordered(row)


def test_overhead_is_above_the_forward() -> None:
    network = networks.tiny_operations(10).eval().requires_grad_(False)
    rows = calls.overhead_of("dense", network, torch.rand(1, 4), rounds=40, seconds=0.0)
    tiny = {row["tool"]: row for row in reversed(rows)}
    assert tiny["forward"]["microseconds"] == 0
    assert 0 < tiny["follow"]["microseconds"] < tiny["relprop"]["microseconds"]
    assert tiny["record"]["operations"] == 20
    assert 0 < tiny["record"]["microseconds"] < tiny["relprop"]["microseconds"]


def test_imports() -> None:
    rows = calls.imports(rounds=1)
    assert [row["what"] for row in rows] == ["torch", "relprop"]
    assert all(row["middle"] > 0 for row in rows)


def test_all_classes() -> None:
    (row,) = calls.classes("lenet5", rules=["epsilon"], batch=1, rounds=3, seconds=0.0)
    assert row["classes"] == 10
    assert ordered(row)


@pytest.mark.skipif(not memory.PEAK.exists(), reason="the system does not tell a process's memory")
def test_memory() -> None:
    row = memory.measured(Candidate("relprop", "epsilon"), "lenet5", 64, 32, Path("nowhere"))
    assert row["peak"] > 64 * 28 * 28 * 10 * 4 / 2**20  # the first layer's output, in MiB
    assert row["first"] >= row["kept"]


def test_ways_of_writing() -> None:
    rows = correctness.rows(with_rival=False)
    assert all(float(row["relprop"]) < 1e-8 for row in rows)


def test_without_cuda_the_gpu_table_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--out", str(tmp_path)])
    assert capsys.readouterr().out == "bench.gpu: no CUDA device here, nothing to measure\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("numbers", gpu.PRECISIONS)
def test_gpu_rows_on_this_processor(numbers: str) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    rules = {"rules": ["epsilon"], "with_rivals": False}
    (rows,) = gpu.measured("lenet5", device="cpu", numbers=numbers, batch=2, rounds=2, **rules)
    assert [(row["tool"], row["graph"]) for row in rows] == [
        ("gradient", False),
        ("relprop", False),
        ("relprop", True),
    ]
    assert rows[0]["share"] == 1
    assert rows[1]["images"] == pytest.approx(2e3 / rows[1]["ms"], rel=1e-3)
    assert rows[2]["failure"].startswith("refused")  # a graph needs CUDA
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
