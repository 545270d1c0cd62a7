"""Learn patterns from data: sums over inputs, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, UnknownName
from ..propagation.operations.choice import WindowPool
from ..propagation.operations.movement import Move
from ..propagation.plan import Plan, Step
from ..propagation.record import record
from ..propagation.recording import Recording
from .pattern_layers import Layer, layers_of, plan_of
from .patterns import Patterns
from .rectifiers import CLAMPS, HALF_CLAMPS, RELUS, THRESHOLDS

LEAST = 1e-9  # of the terms that make up a variance: what is smaller is rounding
ESTIMATORS = ("relu", "linear")
RECTIFIERS = RELUS | CLAMPS | HALF_CLAMPS | THRESHOLDS


def learn_patterns(model: Any, batches: Iterable[Any], *, estimator: str = "relu") -> Patterns:
    """Learn the patterns of a network from inputs like those that it will explain.

    `batches`: inputs as the model takes them, batch by batch; a thousand samples or more.
    `estimator`: "relu" (two-component where a ReLU follows, linear elsewhere) or "linear". Cost:
    for each batch a run, and two gradients with respect to the weights. Raises UnknownName,
    InvalidInput (no batches, no layers), and as `relprop.explain` for a network that cannot be
    followed.
    """
    if estimator not in ESTIMATORS:
        raise UnknownName("estimator of patterns", estimator, ESTIMATORS)
    moments: dict[str, Moments] = {}
    samples = 0
    for batch in batches:
        with torch.inference_mode(False), torch.no_grad():
            recording = record(model, batch, layers=())
            plan = plan_of(recording)
            gated = _gated(plan) if estimator == "relu" else set()
            for layer in layers_of(plan).values():
                if layer.name not in moments:
                    moments[layer.name] = Moments(layer.output.index in gated)
                moments[layer.name].add(recording, layer)
        samples += recording.batch
    if not moments:
        what = "batches is empty" if not samples else "the model has no dense layer or convolution"
        raise InvalidInput(f"no patterns can be learned: {what}")
    return Patterns({name: m.patterns() for name, m in moments.items()}, estimator, samples)


class Moments:
    """Sums of x, y and x y over samples and positions, of one layer with inputs x and outputs y.

    With `gated`, x and x y are summed where the neuron fires.
    """

    def __init__(self, gated: bool):
        self.gated = gated
        self.middle: Tensor | None = None  # y is measured from here, against cancellation
        self.sums: list[Tensor] = []

    def add(self, recording: Recording, layer: Layer) -> None:
        """Take a run into account."""
        x = recording.tensor(layer.value)
        y = layer.outputs(recording.tensor(layer.output))
        ones = torch.ones_like(y)
        fires = (y > 0).to(y) if self.gated else ones
        if self.middle is None:
            self.middle = layer.per_output(y) / layer.per_output(ones)
        y = y - layer.beside_outputs(self.middle)
        found = [
            *(layer.per_output(tensor).double() for tensor in (fires, fires * y)),
            *(layer.products(x, tensor).double() for tensor in (fires, fires * y)),
        ]
        pairs = zip(self.sums, found, strict=True)
        self.sums = [a + b for a, b in pairs] if self.sums else found
        self.layer = layer

    def patterns(self) -> Tensor:
        """a = cov(x, y) / w cov(x, y), over inputs that make the neuron fire; zero for neurons that
        never do, or never change.
        """
        count, total, inputs, products = self.sums
        layer, share = self.layer, 1 / count.clamp(min=1)
        weights = layer.weight(torch.float64)
        covariance = products - inputs * layer.beside_weights(total * share)
        covariance = covariance * layer.beside_weights(share)
        variance = layer.over_inputs(weights * covariance)
        least = LEAST * layer.over_inputs((weights * covariance).abs())
        scale = torch.where(variance > least, 1 / variance, 0.0)
        return (covariance * layer.beside_weights(scale)).float()


def _gated(plan: Plan) -> set[int]:
    """The values that ReLUs alone read, behind moves and max pooling too, by index."""
    readers: dict[int, list[Step]] = {}
    for step in plan.steps:
        for value in step.family.sources:
            readers.setdefault(value.index, []).append(step)
    found: set[int] = set()
    for step in plan.steps:  # the output first, so that readers come before what they read
        for value in step.family.sources:
            if all(_rectifies(plan, reader, found) for reader in readers[value.index]):
                found.add(value.index)
    return found


def _rectifies(plan: Plan, step: Step, gated: set[int]) -> bool:
    """Whether a step is a ReLU, or passes on to ReLUs alone."""
    outputs = [value.index for value in step.operation.outputs if value is not None]
    if step.operation.target in RECTIFIERS:
        return outputs[0] in plan.nonnegative
    return isinstance(step.family, (Move, WindowPool)) and all(i in gated for i in outputs)
