import numpy as np
import pytest
import torch

from relprop import data, models
from relprop.app.evaluating import read_data


@pytest.mark.parametrize(
    ("name", "network", "reader", "shape"),
    [
        ("mnist", "lenet5", "load_mnist", (12, 28, 28)),
        ("cifar10", "cifar10-vgg", "cifar10", (12, 3, 32, 32)),
    ],
)
def test_data_sets_are_read_by_name(monkeypatch, name, network, reader, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    monkeypatch.setattr(data, reader, lambda split: (pixels, np.zeros(12, np.int64)))
    model = models.load(network)
    images = read_data([name], model, limit=5)
    assert images.shape == (5, shape[1] if len(shape) == 4 else 1, 32, 32)
    channels_last = pixels.transpose(0, 2, 3, 1) if len(shape) == 4 else pixels
    assert torch.equal(images[3], model.preprocessing(channels_last[3]))
    assert len(read_data([name], model, limit=None)) == 12
