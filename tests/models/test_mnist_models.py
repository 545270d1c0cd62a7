import numpy as np
import pytest
import torch
from torch import nn

from relprop.data import fetch, load_mnist, sample_digits
from relprop.errors import UnknownName
from relprop.models import LeNet5, Mlp, load
from relprop.models.mnist import SumPool


def predictions(model, images):
    batch = torch.stack([model.preprocessing(image) for image in images])
    with torch.no_grad():
        return model(batch).argmax(1).numpy()


def test_the_shipped_lenet_reads_the_shipped_digits():
    images, labels = sample_digits()
    np.testing.assert_array_equal(predictions(load("lenet5"), images), labels)


def test_the_shipped_lenet_reads_ten_thousand_digits_as_well_as_the_thesis_says():
    if not (fetch.cache_directory() / "mnist").exists():
        pytest.skip("MNIST is not in the cache; load_mnist fetches it")
    images, labels = load_mnist("test")
    model = load("lenet5")
    parts = np.split(images, 10)
    found = np.concatenate([predictions(model, part) for part in parts])
    assert (found == labels).mean() >= 0.9923  # thesis 2.3.3


def test_lenet_has_the_shapes_of_the_thesis():
    model, values, shapes = LeNet5(), torch.zeros(1, 1, 32, 32), {}
    for name, layer in model.named_children():
        values = layer(values)
        shapes[name] = tuple(values.shape[1:])
    assert shapes["conv1"] == (10, 28, 28) and shapes["pool1"] == (10, 14, 14)
    assert shapes["conv2"] == (25, 10, 10) and shapes["pool2"] == (25, 5, 5)
    assert shapes["conv3"] == (100, 2, 2) and shapes["pool3"] == (100, 1, 1)
    assert shapes["flatten"] == (10,)


def test_sum_pooling_divides_by_the_root_of_the_window_size():
    values = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    windows = values.unfold(2, 2, 2).unfold(3, 2, 2)
    torch.testing.assert_close(SumPool()(values), windows.sum((-1, -2)) / 2)


@pytest.mark.parametrize("activation, kind", [("tanh", nn.Tanh), ("relu", nn.ReLU)])
def test_perceptrons_have_three_hidden_layers_of_1296(activation, kind):
    model = Mlp(activation)
    widths = [layer.out_features for layer in model if isinstance(layer, nn.Linear)]
    assert widths == [1296, 1296, 1296, 10]
    assert sum(isinstance(layer, kind) for layer in model) == 3
    assert isinstance(model[-1], nn.Linear)  # logits, no softmax
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_an_unknown_activation_is_refused():
    with pytest.raises(UnknownName, match="unknown activation 'gelu'; there are: relu, tanh"):
        Mlp("gelu")


@pytest.mark.parametrize("model", [LeNet5, Mlp])
def test_a_black_border_is_the_lowest_value(model):
    seen = model.preprocessing(np.zeros((28, 28), np.uint8))
    assert seen.shape[1:] == model.preprocessing.size and (seen == -1).all()
    assert model.preprocessing.low == (-1.0,) and model.preprocessing.high == (1.0,)
