"""The study over the epochs of a training, on three networks of random weights."""

import json

import pytest
import torch
from safetensors.torch import save_file

from relprop import models
from studies import checkpoints

EPOCHS = 3


@pytest.fixture
def folder(tmp_path):
    """What a finished training leaves behind."""
    points = []
    for epoch in range(1, EPOCHS + 1):
        file = f"cifar10-vgg/epoch-{epoch:02d}.safetensors"
        (tmp_path / file).parent.mkdir(exist_ok=True)
        weights = models.load("cifar10-vgg", pretrained=False, seed=epoch).state_dict()
        save_file(weights, tmp_path / file)
        points.append({"checkpoint": file, "test_accuracy": epoch / 10})
    stored = {"settings": {"epochs": EPOCHS}, "curve": points}
    (tmp_path / "cifar10-vgg.json").write_text(json.dumps(stored))
    return tmp_path


def test_a_finished_training_is_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "train", lambda *_: pytest.fail("trained again"))
    assert list(checkpoints.trained(folder).values()) == [0.1, 0.2, 0.3]


def test_what_is_missing_is_trained(folder, monkeypatch):
    trained = []
    monkeypatch.setattr(checkpoints, "train", lambda settings, out, data: trained.append(out))
    (folder / "cifar10-vgg" / "epoch-02.safetensors").unlink()
    checkpoints.trained(folder)
    assert trained == [folder]


def test_every_kind_is_measured_and_drawn(folder, monkeypatch):
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, dtype=torch.long)
    monkeypatch.setattr(checkpoints, "first_images", lambda n: (pixels[:n], labels[:n]))
    monkeypatch.setattr(checkpoints, "FEWER", {"blurred": 2, "probability": 3})
    accuracy = checkpoints.trained(folder)
    found = checkpoints.measure(accuracy, folder, 4, region=16, steps=2)
    assert set(found) == set(checkpoints.KINDS)
    assert [found[kind].right.shape[1] for kind in found] == [4, 2, 3]
    assert all(len(each.rows) == EPOCHS * len(checkpoints.METHODS) for each in found.values())
    most = max(row["score"] for row in found["probability"].rows)
    assert 0.1 <= most <= 1
    table = checkpoints.correlations(found)
    assert len(table) == 2 + len(checkpoints.METHODS)
    axes = checkpoints.draw(found).axes
    assert [len(ax.containers) for ax in axes] == [len(checkpoints.METHODS)] * 4
