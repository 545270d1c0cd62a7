"""Copies of a model that have lost what their layers learned, one layer after another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ..errors import InvalidInput, UnknownName
from .checks import seed_number

# How the older forms of weight norm, spectral norm and pruning name what weights are made of.
MADE_FROM = ("weight_g", "weight_v", "_orig")
ORDERS = ("bottom-up", "top-down")

Reset = Callable[[nn.Module], Any]


def randomised(
    model: nn.Module,
    *,
    order: str = "bottom-up",
    layers: Sequence[str] | None = None,
    reset: Reset | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, nn.Module]]:
    """The name of a layer, and a copy of the model in which it and all before it are random.

    - order: "bottom-up", from the input to the output, or "top-down"
    - layers: names of modules, from the input to the output; by default all that hold parameters,
      as the model names them
    - reset: draws a layer's parameters anew, in place, from torch's default generator on the CPU;
      by default its own `reset_parameters`

    What is drawn depends on `seed` and the layer's name, and not on the order or the device. The
    model itself stays as it is, and so does torch's generator. Raises UnknownName for another order
    or layer, InvalidInput for a model or layer without parameters, and for one that does not say
    how to draw them.
    """
    if order not in ORDERS:
        raise UnknownName("order", order, ORDERS)
    names = _layers(model) if layers is None else _known(model, layers)
    start = seed_number(seed)
    if reset is None:
        for name in names:
            _check_resettable(name, model.get_submodule(name))
    return _steps(model, names if order == "bottom-up" else names[::-1], reset, start)


def _steps(
    model: nn.Module, names: Sequence[str], reset: Reset | None, seed: int
) -> Iterator[tuple[str, nn.Module]]:
    current = model
    for name in names:
        current = copy.deepcopy(current)
        _redraw(current.get_submodule(name), reset or _own, seed ^ crc32(name.encode()))
        yield name, current


def _redraw(layer: nn.Module, reset: Reset, seed: int) -> None:
    """Drawn on the CPU, so that all devices get the same."""
    fresh = copy.deepcopy(layer).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        with torch.no_grad():
            reset(fresh)
    layer.load_state_dict(fresh.state_dict())


def _own(layer: Any) -> None:
    layer.reset_parameters()


def _layers(model: nn.Module) -> list[str]:
    """Modules with parameters of their own."""
    found = [
        name
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    if not found:
        raise InvalidInput(
            f"{type(model).__name__} has no parameters, so nothing can be randomised"
        )
    return found


def _known(model: nn.Module, layers: Sequence[str]) -> list[str]:
    modules = dict(model.named_modules())
    for name in layers:
        if name not in modules:
            raise UnknownName("layer", name, modules)
        if not any(True for _ in modules[name].parameters()):
            raise InvalidInput(f"layer {name!r} has no parameters; leave it out")
    if not layers:
        raise InvalidInput("layers is empty: name one at least, or leave it out for all")
    return list(layers)


def _check_resettable(name: str, layer: nn.Module) -> None:
    if not callable(getattr(layer, "reset_parameters", None)):
        raise InvalidInput(
            f"layer {name!r} ({type(layer).__name__}) has parameters and no reset_parameters(): "
            "give reset=, a function that draws a layer's parameters anew, in place"
        )
    made = [each for each, _ in layer.named_parameters() if each.endswith(MADE_FROM)]
    if is_parametrized(layer) or made:
        raise InvalidInput(
            f"the weights of layer {name!r} ({type(layer).__name__}) are made of other parameters "
            "(weight norm, spectral norm, pruning), which reset_parameters() does not draw: give "
            "reset=, or remove it from a copy first"
        )
