"""zennit beside us, its rules under the names of our presets."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .measure import Step

RULES = ("epsilon", "alpha1beta0", "alpha2beta1", "epsilon-gamma-box", "thesis")


def explainer(rule: str, network: nn.Module, batch: Tensor) -> Step:
    """zennit's explanation of the predicted classes under what comes nearest to our preset.

    On a copy of the modules, whose hooks stay between calls as in a loop over batches.
    """
    from zennit.attribution import Gradient

    composite = _composite(rule, network, batch)
    attributor = Gradient(_copied(network), composite=composite, attr_output=_predicted)
    attributor.__enter__()
    return lambda: attributor(batch.detach())


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


def _composite(rule: str, network: nn.Module, batch: Tensor) -> Any:
    from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
    from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, ZBox, ZPlus
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Convolution, Linear

    dense_and_convolution: dict[str, tuple[Any, Any]] = {
        "epsilon": (Epsilon(1e-6), Epsilon(1e-6)),
        "alpha1beta0": (ZPlus(), ZPlus()),
        "alpha2beta1": (AlphaBeta(2, 1), AlphaBeta(2, 1)),
        "epsilon-gamma-box": (Epsilon(1e-6), Gamma(0.25)),
        "thesis": (Epsilon(0.01), AlphaBeta(2, 1)),
    }
    dense, convolution = dense_and_convolution[rule]
    layers = [*layer_map_base(), (Convolution, convolution), (torch.nn.Linear, dense)]
    first = {"thesis": Flat, "epsilon-gamma-box": lambda: ZBox(*_bounds(network, batch))}.get(rule)
    special = [] if first is None else [(Linear, first())]
    return SpecialFirstLayerMapComposite(layers, special, canonizers=[ResNetCanonizer()])


def _bounds(network: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Black and white in the shape of the inputs."""
    known: Any = network.preprocessing
    low, high = (batch.new_tensor(bound)[:, None, None] for bound in (known.low, known.high))
    return low.expand_as(batch), high.expand_as(batch)


def _copied(network: nn.Module) -> nn.Module:
    """The network for zennit's hooks, which share the weights where zennit does not change them.

    A ResNet becomes torchvision's class: zennit finds the residual sum only there. It merges batch
    norm into the layer before, so that a network with batch norm gets weights of its own.
    """
    if type(network).__name__ == "ResNet50":
        from torchvision.models import resnet50

        known: nn.Module = resnet50(weights=None)
        known.load_state_dict(network.state_dict())
        like = next(network.parameters())
        return known.to(like.device, like.dtype).eval().requires_grad_(False)
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return copy.deepcopy(network)
    return copy.deepcopy(network, {id(weight): weight for weight in network.parameters()})
