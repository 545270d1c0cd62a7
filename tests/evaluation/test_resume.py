"""Stopped at any moment, and gone on with: the same numbers to the last bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from relprop.errors import StoreMismatch
from relprop.evaluation import Curve, region_perturbation, resume
from tests.evaluation.exact import exact_model, images_of_eighths

IMAGES = images_of_eighths(6, 1, 8, 8)
HEATMAPS = IMAGES[:, 0]
MODEL = exact_model(1, 8, 8)
OPTIONS = {"region": 2, "steps": 8, "repeats": 3, "batch_size": 5}


class Stopped(Exception):
    pass


def stopping(after):
    """A model that fails once it was called so often, and how often it was called."""
    calls = []

    def f(batch):
        if len(calls) == after:
            raise Stopped
        calls.append(len(batch))
        return MODEL(batch)

    return f, calls


@pytest.fixture(autouse=True)
def written_at_once(monkeypatch):
    monkeypatch.setattr(resume, "SECONDS", 0.0)


def test_goes_on_where_it_stopped(tmp_path):
    whole = region_perturbation(MODEL, IMAGES, HEATMAPS, **OPTIONS)
    f, calls = stopping(after=2 + 7)  # two for the images as they are, five of them a batch
    with pytest.raises(Stopped):
        region_perturbation(f, IMAGES, HEATMAPS, resume=tmp_path / "run", **OPTIONS)
    f, calls = stopping(after=-1)
    found = region_perturbation(f, IMAGES, HEATMAPS, resume=tmp_path / "run", **OPTIONS)
    assert sum(calls) == 6 + 6 * 3 * 8 - 7 * 5
    assert torch.equal(found.scores, whole.scores)
    assert torch.equal(found.predicted, whole.predicted)
    f, calls = stopping(after=2)  # nothing is left to do
    again = region_perturbation(f, IMAGES, HEATMAPS, resume=tmp_path / "run", **OPTIONS)
    assert torch.equal(again.scores, whole.scores)
    assert again.settings == whole.settings


def test_what_is_damaged_is_done_again(tmp_path):
    whole = region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **OPTIONS)
    files = sorted(tmp_path.glob("samples-*.npz"))
    files[3].write_bytes(files[3].read_bytes()[:100])
    files[5].unlink()
    found = region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **OPTIONS)
    assert torch.equal(found.scores, whole.scores)


SCRIPT = """
import sys, time, torch
from relprop import data, models
from relprop.evaluation import region_perturbation, resume
resume.SECONDS = 0.05
network = models.load("lenet5")
digits = torch.stack([network.preprocessing(d) for d in data.sample_digits()[0]])
def f(batch):
    time.sleep(float(sys.argv[2]))
    return network(batch)
for name in sys.argv[3:]:
    folder = sys.argv[1] + "/run" if name == "run" else None
    curve = region_perturbation(f, digits, digits[:, 0], region=4, steps=20, repeats=4,
                                batch_size=32, resume=folder)
    curve.save(f"{sys.argv[1]}/{name}.npz")
"""


def start(folder, pause, *names):
    command = [sys.executable, "-c", SCRIPT, str(folder), str(pause), *names]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_and_run_again(tmp_path):
    """kill -9 in the middle, on a real network; then, in another process, to the end and anew."""
    process = start(tmp_path, 0.1, "run")
    limit = time.monotonic() + 100
    while len(list(tmp_path.glob("run/samples-*.npz"))) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run.npz").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/samples-*.npz")}
    assert 0 < max(int(path.stem.split("-")[2]) for path in before) < 20 * 4 * 20
    assert start(tmp_path, 0, "run", "whole").wait() == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}, "nothing is done twice"
    whole, found = Curve.load(tmp_path / "whole.npz"), Curve.load(tmp_path / "run.npz")
    assert torch.equal(whole.scores, found.scores)
    assert torch.equal(whole.predicted, found.predicted)
    assert whole.interval == found.interval


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"steps": 7}, "order|steps"),
        ({"seed": 1}, "order|seed"),
        ({"batch_size": 6}, "batch_size"),
        ({"fill": 0.0}, "fill"),
        ({"output": "probability"}, "output"),
        ({"target": 0}, "target"),
        ({"value_range": (-1, 1)}, "range"),
        ({"repeats": 2}, "repeats"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, options, name):
    region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **OPTIONS)
    with pytest.raises(StoreMismatch, match=f"holds a run with other ({name}) .*another folder"):
        region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **{**OPTIONS, **options})


def test_other_images_heatmaps_and_models_are_refused(tmp_path):
    region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **OPTIONS)
    with pytest.raises(StoreMismatch, match="other order"):
        region_perturbation(MODEL, IMAGES, -HEATMAPS, resume=tmp_path, **OPTIONS)
    options = {**OPTIONS, "value_range": (-2, 2)}
    region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path / "b", **options)
    with pytest.raises(StoreMismatch, match="other keys"):
        region_perturbation(
            MODEL, IMAGES.flip(0), HEATMAPS, resume=tmp_path / "b", **options, target=0
        )


def test_another_model_is_seen_by_its_scores(tmp_path):
    options = {**OPTIONS, "target": 0}
    region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **options)
    with pytest.raises(StoreMismatch, match="holds a run of another model"):
        region_perturbation(
            lambda batch: MODEL(batch) * 1.001, IMAGES, HEATMAPS, resume=tmp_path, **options
        )
    rounding = region_perturbation(
        lambda batch: MODEL(batch) * (1 + 1e-9), IMAGES, HEATMAPS, resume=tmp_path, **options
    )
    assert rounding.scores.shape == (3, 6, 9)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "description.json").write_text("{")
    with pytest.raises(StoreMismatch, match="can't be read; give another folder"):
        region_perturbation(MODEL, IMAGES, HEATMAPS, resume=tmp_path, **OPTIONS)
