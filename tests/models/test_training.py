import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from relprop.data import sample_digits

STUDY = Path(__file__).parents[2] / "studies" / "train_mnist.py"


@pytest.fixture
def study(monkeypatch):
    spec = importlib.util.spec_from_file_location("train_mnist", STUDY)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(importlib.import_module("sys").modules, "train_mnist", module)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # process-wide
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    """Fifty digits, laid out as MNIST is."""
    images, labels = sample_digits()
    order = np.arange(50) % 20
    for split in ("train", "t10k"):
        for name, array in (("images", images[order]), ("labels", labels[order].astype(np.uint8))):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{split}-{name}").write_bytes(header + array.tobytes())
    return tmp_path


def small_models():
    convolutional = (nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 24 * 24, 10))
    dense = (nn.Flatten(), nn.Linear(784, 30), nn.Tanh(), nn.Linear(30, 10))
    return [nn.Sequential(*dense), nn.Sequential(*convolutional)]


@pytest.mark.parametrize("index", [0, 1])
def test_a_step_is_plain_gradient_descent(study, index):
    torch.manual_seed(0)
    ours = small_models()[index].double()
    plain = small_models()[index].double()
    plain.load_state_dict(ours.state_dict())
    images, labels = torch.randn(25, 1, 28, 28).double(), torch.randint(10, (25,))
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(plain(images), labels)
        loss.backward()
        optimiser.step()
        assert study.descend(ours, images, labels, 0.1) == pytest.approx(loss.item())
    for found, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_shifts_go_up_to_four_pixels_and_uncover_background(study):
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 14, 14] = 255
    digits = study.ShiftedDigits(image, 32)
    batch = digits.batch(torch.zeros(2000, dtype=torch.long), torch.Generator().manual_seed(0))
    assert batch.shape == (2000, 1, 32, 32)
    assert (batch.flatten(1).sum(1) == 2 - 32 * 32).all()  # one white pixel, the rest background
    rows, columns = (batch[:, 0] == 1).nonzero()[:, 1:].T
    for found in (rows, columns):
        assert sorted(set(found.tolist())) == list(range(16 - 4, 16 + 5))


def test_a_stopped_training_goes_on_where_it_was(study, folder, tmp_path, monkeypatch):
    settings = study.Settings("lenet5", epochs=3, rate=0.01, seed=0)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    study.train(settings, whole, folder)
    keep = study._keep

    def keep_and_stop(*state):
        keep(*state)
        raise KeyboardInterrupt

    for _ in range(2):
        monkeypatch.setattr(study, "_keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt):
            study.train(settings, stopped, folder)
    monkeypatch.setattr(study, "_keep", keep)
    study.train(settings, stopped, folder)
    first, second = (load_file(path / "lenet5.safetensors") for path in (whole, stopped))
    assert all(torch.equal(first[key], second[key]) for key in first)
    record = json.loads((stopped / "lenet5.json").read_text())
    assert [point["epoch"] for point in record["curve"]] == [1, 2, 3]
    assert record["settings"]["rate"] == 0.01
    with pytest.raises(SystemExit, match="of another training"):
        study.train(study.Settings("lenet5", epochs=4, rate=0.01, seed=0), stopped, folder)
