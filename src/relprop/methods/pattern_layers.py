"""The layers of a recorded network that have patterns: dense layers and convolutions.

A layer is seen as the plan sees it: with batch norm folded into its weights, so that the neuron is
what the activation reads, and with padding as part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedOperation
from ..propagation.fold import Reshaped
from ..propagation.operations.linear import Linear
from ..propagation.operations.maps import Composed, Convolution, Dense, LinearMap
from ..propagation.parts import WEIGHT
from ..propagation.plan import Plan, make_plan
from ..propagation.presets import as_preset
from ..propagation.recording import Recording, Value
from ..propagation.route import find_ending


@dataclass(frozen=True, eq=False)
class Layer:
    """A dense layer or convolution: what it reads, what it says, and its weights."""

    name: str
    value: Value
    output: Value
    map: LinearMap

    def weight(self, dtype: torch.dtype) -> Tensor:
        """Its weights, batch norm included."""
        return _inner(self.map).weight.part(WEIGHT, dtype).detach()

    def transpose(self, pattern: Tensor, s: Tensor) -> Tensor:
        """The layer's transpose with a pattern in the place of the weights."""
        return _with(self.map, pattern).transpose(s)

    def outputs(self, tensor: Tensor) -> Tensor:
        """A tensor shaped like the output, as the layer's own map returns it."""
        return tensor.reshape(self.map.inner_shape) if isinstance(self.map, Reshaped) else tensor

    def per_output(self, outputs: Tensor) -> Tensor:
        """`[O]`: summed over samples and positions."""
        axis = 1 if self._convolves else outputs.ndim - 1
        return outputs.movedim(axis, 0).flatten(1).sum(1)

    def products(self, x: Tensor, outputs: Tensor) -> Tensor:
        """For each weight the sum over samples and positions of its input times its output."""
        inner = _inner(self.map)
        if isinstance(self.map, Composed):
            x = self.map.first.forward(x)
        if isinstance(inner, Dense):
            return x.flatten(0, -2).mT @ outputs.flatten(0, -2)
        weight = inner.weight.part(WEIGHT, x.dtype)
        wanted = [False, True, False]
        back = torch.ops.aten.convolution_backward.default
        found: Tensor = back(outputs.contiguous(), x, weight, None, *inner.options, wanted)[1]
        return found

    def beside_outputs(self, figures: Tensor) -> Tensor:
        """Figures `[O]` that broadcast to the outputs."""
        axes = len(_inner(self.map).weight.shape) - 2
        return figures.reshape(-1, *[1] * axes) if self._convolves else figures

    def beside_weights(self, figures: Tensor) -> Tensor:
        """Figures `[O]` that broadcast to the weights."""
        axes = len(_inner(self.map).weight.shape) - 1
        return figures.reshape(-1, *[1] * axes) if self._convolves else figures

    def over_inputs(self, weights: Tensor) -> Tensor:
        """`[O]`: a tensor shaped like the weights, summed over what each output reads."""
        return weights.flatten(1).sum(1) if self._convolves else weights.sum(0)

    @property
    def _convolves(self) -> bool:
        return isinstance(_inner(self.map), Convolution)


def plan_of(recording: Recording) -> Plan:
    """The plan of a recording; a softmax that ends the model is left out.

    Raises UnsupportedOperation.
    """
    return make_plan(recording, as_preset("epsilon"), left_out=find_ending(recording).operation)


def layers_of(plan: Plan) -> dict[int, Layer]:
    """The layers by the index of their operation, in the order in which they run.

    Each is named after its module, numbered where that runs more than once. Raises
    UnsupportedOperation for layers without patterns.
    """
    found: dict[int, Layer] = {}
    names: dict[str, int] = {}
    for step in reversed(plan.steps):
        family = step.family
        if not isinstance(family, Linear) or family.kind not in ("dense", "convolution"):
            continue
        term = family.terms[0]
        inner = _inner(term.map)
        if len(family.terms) != 1 or not _has_patterns(inner):
            raise UnsupportedOperation(
                f"{step.names} in {step.module or 'the model'} has no patterns: they are defined "
                "for dense layers and convolutions (not transposed) with one input"
            )
        name = step.module or step.family.kind
        names[name] = names.get(name, 0) + 1
        label = name if names[name] == 1 else f"{name}#{names[name]}"
        found[step.operation.index] = Layer(label, term.value, step.operation.output, term.map)
    return found


def _has_patterns(inner: Any) -> bool:
    if isinstance(inner, Convolution):
        return not inner.transposed
    return isinstance(inner, Dense) and not inner.left and len(inner.weight.shape) == 2


def _inner(found: LinearMap) -> Any:
    """The layer's own map."""
    if isinstance(found, Composed):
        return _inner(found.second)
    return _inner(found.inner) if isinstance(found, Reshaped) else found


def _with(found: LinearMap, pattern: Tensor) -> LinearMap:
    if isinstance(found, Composed):
        return replace(found, second=_with(found.second, pattern))
    if isinstance(found, Reshaped):
        return replace(found, inner=_with(found.inner, pattern))
    assert isinstance(found, (Dense, Convolution))
    return replace(found, weight=pattern)  # type: ignore[arg-type]
