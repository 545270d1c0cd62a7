import pytest
import torch
from safetensors.torch import save_file

from relprop.errors import InvalidInput, UnknownName
from relprop.models import load, names

ALL = [
    "lenet5", "mlp-tanh", "mlp-relu", "cifar10-vgg", "cifar10-vgg-lrn", "squeezenet",
    "efficientnet-lite0", "caffenet", "adiencenet", "vgg16", "vgg-cnn-s", "googlenet",
    "resnet50", "densenet121",
]  # fmt: skip


def test_names():
    assert names() == ALL
    assert names(pretrained=True) == ["lenet5", "cifar10-vgg", "squeezenet", "efficientnet-lite0"]
    assert sorted(names(pretrained=True) + names(pretrained=False)) == sorted(ALL)


def test_an_unknown_model_is_refused_with_the_list():
    with pytest.raises(UnknownName, match="unknown model 'vgg19'; there are: adiencenet, "):
        load("vgg19")


@pytest.mark.parametrize("name", ["mlp-tanh", "googlenet"])
def test_random_weights_are_never_given_silently(name):
    with pytest.raises(InvalidInput, match=f"no trained weights for {name}.*pretrained=False"):
        load(name)


def test_a_perceptron_says_how_to_train_it():
    with pytest.raises(InvalidInput, match="python studies/train_mnist.py mlp-relu"):
        load("mlp-relu")


def test_models_come_ready_to_explain():
    model = load("lenet5")
    assert not model.training
    assert model.classes == tuple("0123456789")
    assert model.preprocessing.size == (32, 32)


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "mine.safetensors"
    state = load("mlp-relu", pretrained=False, seed=5).state_dict()
    save_file(state, path)
    loaded = load("mlp-relu", weights=path).state_dict()
    assert all(torch.equal(state[key], loaded[key]) for key in state)
    with pytest.raises(InvalidInput, match="do not fit LeNet5: "):
        load("lenet5", weights=path)


def test_files_that_hold_no_weights_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="there is no file"):
        load("mlp-relu", weights=tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InvalidInput, match="is not a safetensors file"):
        load("mlp-relu", weights=tmp_path / "text")
