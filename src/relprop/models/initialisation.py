"""Seeded random weights under which every layer, batch norm included, does something visible."""

import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def randomise(model: nn.Module, *, size: tuple[int, ...], seed: int = 0) -> None:
    """He's initialisation, small biases, and batch norm statistics that fit; in place.

    `size` is the shape of one input, `[C, H, W]`. The same seed gives the same model.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            inputs = layer.weight[0].numel()
            layer.weight.normal_(0.0, math.sqrt(2 / inputs), generator=generator)
            if layer.bias is not None:  # not zero: relevance that biases absorb is to be seen
                layer.bias.normal_(0.0, 0.1, generator=generator)
    randomise_statistics(model, size=size, seed=seed)


@torch.no_grad()
def randomise_statistics(model: nn.Module, *, size: tuple[int, ...], seed: int = 0) -> None:
    """Gives batch norm layers the statistics of two noise images, then perturbs them; in place.

    Fitted first, so that activations keep their scale through a hundred layers; perturbed, with
    scale and shift drawn at random, so that a batch norm that is left out shows.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not layers:
        return
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        layer.weight.uniform_(0.7, 1.3, generator=generator)
        layer.bias.normal_(0.0, 0.1, generator=generator)
    _fit(model, layers, torch.randn(2, *size, generator=generator))
    for layer in layers:
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None and variance is not None  # _fit has set them
        noise = torch.randn(mean.shape, generator=generator)
        mean.add_(0.1 * noise * variance.sqrt())
        variance.mul_(torch.rand(variance.shape, generator=generator) * 0.5 + 0.75)


def _fit(model: nn.Module, layers: list[_BatchNorm], images: torch.Tensor) -> None:
    """Sets running statistics to those of one batch; modes and momenta stay as they were."""
    modes = {module: module.training for module in model.modules()}
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = 1.0
    model(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
