"""Every method that relprop knows, with settings for small images: what the studies compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import relprop
from relprop.data import cifar10, load_mnist
from relprop.methods import METHODS, fit_patches, learn_patterns

SEGMENT = 4  # pixels: the side of what sampling methods take away
PATTERN_IMAGES = 2000  # training images that patterns and patches are learned from
# The thesis's own settings (fig. 3.5), and the presets that fit a plain network.
THESIS: Mapping[str, Any] = {
    "lrp AlphaBeta(2, -1)": relprop.AlphaBeta(2, -1),
    "lrp Epsilon(0.01)": relprop.Epsilon(0.01),
    "lrp Epsilon(100)": relprop.Epsilon(100),
}
PRESETS = (
    *("thesis", "thesis-alpha1", "epsilon-gamma-flat", "epsilon-gamma-box"),
    *("alpha1beta0", "montavon2019"),
)
LEFT_OUT = {
    "cam": "LeNet-5 has one position left, where it is Grad-CAM; the VGG has no global pooling",
    "gradient": "its map before pooling is that of sensitivity",
}


def few_methods() -> dict[str, Any]:
    """What the thesis compares in its figure 3.5, and our presets."""
    return {
        **THESIS,
        **{f"lrp:{name}": f"lrp:{name}" for name in PRESETS},
        "sensitivity": "sensitivity",
        "deconvolution": "deconvolution",
        "random map": "random",
    }


def every_method(model: nn.Module, data: str) -> dict[str, Any]:
    """Label -> method for a network trained on "mnist" or "cifar10"; LEFT_OUT says what is not."""
    training = training_images(model, data)
    background = float(training.amin()) if data == "mnist" else 0.0  # 0: the mean colour
    segments = {"segments": SEGMENT, "reference": background, "at_once": 64}
    patterns = {"patterns": learn_patterns(model, training.split(250))}
    options: dict[str, dict[str, Any]] = {
        "integrated-gradients": {"reference": background, "steps": 16},
        "deeplift": {"reference": background},
        "occlusion": {"window": SEGMENT, "stride": 2, "reference": background, "at_once": 64},
        "feature-ablation": segments,
        "lime": segments,
        "kernel-shap": segments,
        "patternnet": patterns,
        "pattern-attribution": patterns,
        "prediction-difference": {
            "data": fit_patches(training, SEGMENT + 4),
            "stride": SEGMENT,
            "samples": 5,
        },
        "meaningful-perturbation": {"steps": 100, "cells": 8},
    }
    found = few_methods()
    for name in METHODS:
        if name not in {"random", *LEFT_OUT, *found}:
            found[name] = (name, options.get(name, {}))
    if training.shape[1] > 1:
        found["sensitivity l-infinity"] = ("sensitivity", {"norm": "linf"})
    found["deeplift reveal-cancel"] = ("deeplift", options["deeplift"] | {"rule": "reveal-cancel"})
    return found


def training_images(model: nn.Module, data: str) -> Tensor:
    """The first images of the training part, as the model takes them."""
    prepare: Any = model.preprocessing
    if data == "mnist":
        images = load_mnist("train")[0][:PATTERN_IMAGES]
    else:
        images = cifar10("train")[0][:PATTERN_IMAGES].transpose(0, 2, 3, 1)
    return torch.stack([prepare(image) for image in images])
