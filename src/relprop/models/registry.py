"""Every model that relprop knows by name, and how to get it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import nn

from relprop.errors import InvalidInput, UnknownName
from relprop.models import architectures
from relprop.models.cifar10 import CifarVgg
from relprop.models.imagenet_weights import imagenet_weights
from relprop.models.initialisation import randomise
from relprop.models.mnist import LeNet5, Mlp

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Entry:
    """How to build a model, and where its trained weights come from, if there are any."""

    build: Callable[[], nn.Module]
    weights: Callable[[], Weights] | None = None
    hint: str = "none are published in a form that can be fetched"


def _shipped(file: str) -> Weights:
    return parse_safetensors((resources.files("relprop.models") / "weights" / file).read_bytes())


_TRAINABLE = "train them in an hour: python studies/train_mnist.py {}"

_ENTRIES: dict[str, Entry] = {
    "lenet5": Entry(LeNet5, partial(_shipped, "lenet5.safetensors")),
    "mlp-tanh": Entry(lambda: Mlp("tanh"), hint=_TRAINABLE.format("mlp-tanh")),
    "mlp-relu": Entry(lambda: Mlp("relu"), hint=_TRAINABLE.format("mlp-relu")),
    "cifar10-vgg": Entry(CifarVgg, partial(_shipped, "cifar10-vgg.safetensors")),
    "cifar10-vgg-lrn": Entry(
        lambda: CifarVgg(normalise=True),
        hint="train them in half an hour: python studies/train_cifar10.py --lrn",
    ),
    "squeezenet": Entry(architectures.SqueezeNet, partial(imagenet_weights, "squeezenet")),
    "efficientnet-lite0": Entry(
        architectures.EfficientNetLite0, partial(imagenet_weights, "efficientnet-lite0")
    ),
    "caffenet": Entry(architectures.CaffeNet),
    "adiencenet": Entry(architectures.AdienceNet),
    "vgg16": Entry(architectures.Vgg16),
    "vgg-cnn-s": Entry(architectures.VggCnnS),
    "googlenet": Entry(architectures.GoogLeNet),
    "resnet50": Entry(architectures.ResNet50),
    "densenet121": Entry(architectures.DenseNet121),
}

# How other libraries write them.
_OTHER_NAMES = {
    "squeezenet1_1": "squeezenet",
    "efficientnet_lite0": "efficientnet-lite0",
    "mlp_tanh": "mlp-tanh",
    "mlp_relu": "mlp-relu",
    "cifar10_vgg": "cifar10-vgg",
    "cifar10_vgg_lrn": "cifar10-vgg-lrn",
    "vgg_cnn_s": "vgg-cnn-s",
}


def names(*, pretrained: bool | None = None) -> list[str]:
    """The models that `load` knows; with `pretrained`, only those with or without weights."""
    return [
        name
        for name, entry in _ENTRIES.items()
        if pretrained is None or pretrained == (entry.weights is not None)
    ]


def load(
    name: str, *, pretrained: bool = True, weights: str | Path | None = None, seed: int = 0
) -> nn.Module:
    """A model in evaluation mode, with `.preprocessing`, `.classes` and, for some, `.flat_until`.

    With its trained weights; with those in a safetensors file, given as `weights`; or, with
    `pretrained=False`, with random ones drawn from `seed`. Raises UnknownName for another name,
    InvalidInput where there are no trained weights or the file does not fit, RelpropError where
    weights can't be fetched.
    """
    known = _OTHER_NAMES.get(name, name)
    if known not in _ENTRIES:
        raise UnknownName("model", name, _ENTRIES)
    entry = _ENTRIES[known]
    model = entry.build().eval()
    if weights is not None:
        _set(model, _read(Path(weights)), origin=str(weights))
    elif not pretrained:
        preprocessing: Any = model.preprocessing
        randomise(model, size=(preprocessing.channels, *preprocessing.size), seed=seed)
    elif entry.weights is not None:
        _set(model, entry.weights(), origin=f"the weights of {name}")
    else:
        raise InvalidInput(
            f"there are no trained weights for {name}: {entry.hint}. Give your own with "
            "weights='file.safetensors', or ask for random ones with pretrained=False"
        )
    return model


def _read(path: Path) -> Weights:
    try:
        return parse_safetensors(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no file {path}") from error
    except SafetensorError as error:
        raise InvalidInput(f"{path} is not a safetensors file: {error}") from error


def _set(model: nn.Module, weights: Weights, *, origin: str) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidInput(f"{origin} do not fit {type(model).__name__}: {error}") from error
