"""zennit beside us: made to import without torchvision's operators, its rules under our names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_library: list[torch.library.Library] = []


def load(folder: Path) -> bool:
    """Make zennit importable from `folder`; False where it is not there.

    zennit imports torchvision, whose operators do not load beside a CPU build of torch; their names
    are declared so that the import passes. Nothing that is measured calls them.
    """
    sys.path.append(str(folder))
    if importlib.util.find_spec("zennit") is None:
        return False
    if not _library:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a) -> Tensor")
        _library.append(library)
    return True


def version() -> str:
    """The version of zennit that is measured."""
    from importlib.metadata import version

    return version("zennit")


def explainer(rule: str, network: nn.Module, batch: Tensor) -> Callable[[], Any]:
    """zennit's explanation of the predicted classes under one of our rules' names."""
    from zennit.attribution import Gradient

    network = _as_torchvision(network)
    attributor = Gradient(network, composite=_composite(rule), attr_output=_predicted)
    attributor.__enter__()  # registered once, as in a loop over batches

    def step() -> Any:
        return attributor(batch.detach())

    return step


def relevance(network: nn.Module, batch: Tensor, *, epsilon: float) -> Tensor:
    """zennit's relevance of the predicted classes under the epsilon rule throughout, `[N, ...]`."""
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite, layer_map_base
    from zennit.rules import Epsilon
    from zennit.types import Linear

    composite = LayerMapComposite([*layer_map_base(epsilon), (Linear, Epsilon(epsilon))])
    with Gradient(network, composite=composite, attr_output=_predicted) as attributor:
        found: Tensor = attributor(batch)[1]
    return found.detach()


def _predicted(output: Tensor) -> Tensor:
    """Relevance starts at the predicted class's own score."""
    chosen = output.argmax(1, keepdim=True)
    return torch.zeros_like(output).scatter_(1, chosen, output.gather(1, chosen))


def _composite(rule: str) -> Any:
    from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
    from zennit.rules import AlphaBeta, Epsilon, Flat, ZPlus
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Convolution, Linear

    dense_and_convolution: dict[str, tuple[Any, Any]] = {
        "Epsilon": (Epsilon(1e-6), Epsilon(1e-6)),
        "ZPlus": (ZPlus(), ZPlus()),
        "AlphaBeta(2, -1)": (AlphaBeta(2, 1), AlphaBeta(2, 1)),
        "thesis": (Epsilon(0.01), AlphaBeta(2, 1)),
    }
    dense, convolution = dense_and_convolution[rule]
    layers = [*layer_map_base(), (Convolution, convolution), (torch.nn.Linear, dense)]
    first = [(Linear, Flat())] if rule == "thesis" else []
    return SpecialFirstLayerMapComposite(layers, first, canonizers=[ResNetCanonizer()])


def _as_torchvision(network: nn.Module) -> nn.Module:
    """A ResNet as torchvision's class, same weights: zennit finds the residual sum only there."""
    if type(network).__name__ != "ResNet50":
        return network
    from torchvision.models import resnet50

    known = resnet50(weights=None)
    known.load_state_dict(network.state_dict())
    return known.eval().requires_grad_(False)
