"""`relprop evaluate` from end to end, on the digits' network and a folder of images."""

import csv
import os
import signal
import subprocess
import sys
import time

import pandas
import pytest

import relprop
from relprop import data, viz

SETTINGS = ("--region", 4, "--steps", 6, "--repeats", 2, "--fills", "uniform,mean,blur")


@pytest.fixture
def digits(tmp_path):
    """A folder of digits, as image files."""
    folder = tmp_path / "digits"
    images, _ = data.sample_digits()
    for number, image in enumerate(images):
        viz.save_png(image[..., None].repeat(3, 2), folder / f"{number:02d}.png")
    return folder


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_all_that_is_written(relprop_command, digits, tmp_path):
    ended = relprop_command(
        *("evaluate", "--model", "lenet5", "--data", digits, "--out", "out", *SETTINGS),
        *("--methods", "lrp:epsilon-gamma-flat, sensitivity,random"),
    )
    assert ended.code == 0, ended.err
    assert "AOPC over random" in ended.out and "rank correlation of uniform and mean" in ended.out
    table = rows(tmp_path / "out" / "table.csv")
    assert len(table) == 9
    assert {row["method"] for row in table} == {"lrp:epsilon-gamma-flat", "sensitivity", "random"}
    found = {row["method"]: float(row["over_random"]) for row in table if row["fill"] == "uniform"}
    assert found["lrp:epsilon-gamma-flat"] > 2 > found["random"]
    frame = pandas.read_parquet(tmp_path / "out" / "table.parquet")
    assert list(frame["method"]) == [row["method"] for row in table]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"curves-{f}.{e}" for f in ("uniform", "mean", "blur") for e in ("png", "svg")} <= names
    report = (tmp_path / "out" / "report.html").read_text()
    assert "sensitivity" in report and "<script" not in report and "http" not in report


def test_a_run_that_is_killed_goes_on(relprop_command, digits, tmp_path):
    """The table is that of a run without interruption, to the last digit."""
    arguments = ["evaluate", "--model", "lenet5", "--data", str(digits), *map(str, SETTINGS)]
    arguments += ["--methods", "lrp,random"]
    command = [sys.executable, "-m", "relprop", *arguments, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pieces, deadline = tmp_path / "killed" / "pieces", time.monotonic() + 60
    while time.monotonic() < deadline and len(list(pieces.glob("*"))) < 4:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "table.csv").exists()
    for out in ("killed", "whole"):
        assert relprop_command(*arguments, "--out", out).code == 0
    assert rows(tmp_path / "killed" / "table.csv") == rows(tmp_path / "whole" / "table.csv")


def test_a_preset_file_is_a_method(relprop_command, digits, tmp_path):
    """It gives what the preset gives by its name."""
    relprop.presets()["thesis"].save(tmp_path / "own.json")
    ended = relprop_command(
        *("evaluate", "--model", "lenet5", "--data", digits, "--out", "out", *SETTINGS),
        *("--methods", "lrp:own.json,lrp:thesis"),
    )
    assert ended.code == 0, ended.err
    table = rows(tmp_path / "out" / "table.csv")
    by_file, by_name = (
        [{k: v for k, v in row.items() if k != "method"} for row in table if row["method"] == name]
        for name in ("lrp:own.json", "lrp:thesis")
    )
    assert len(by_file) == 3 and by_file == by_name


def test_what_is_refused(relprop_command, digits, tmp_path):
    common = ("evaluate", "--model", "lenet5", "--out", "out")
    assert "nonsense" in relprop_command(*common, "--data", digits, "--methods", "nonsense").err
    assert "no image" in relprop_command(*common, "--data", tmp_path / "nothing").err
    assert "--limit" in relprop_command(*common, "--data", digits, "--limit", 0).err
    assert (
        "no preset file"
        in relprop_command(*common, "--data", digits, "--methods", "lrp:none.json").err
    )
    assert "fill" in relprop_command(*common, "--data", digits, "--fills", "nonsense").err
