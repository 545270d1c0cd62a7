"""Class activation maps: what a late layer saw, weighted for the target, laid over the input.

The layer is a module's output (`layer=`), or the last value with positions before pooling and dense
layers, which the recording shows. Maps are `[N, ...]` at the layer's positions, in
`explanation.layers`; as relevance of the input they are interpolated linearly, and every channel of
a position has an even part of it, so that a heatmap, which sums channels, is the map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..propagation.checks import check_batch
from ..propagation.lrp import Options, check_names
from ..propagation.record import record
from ..propagation.recording import Recording
from ..propagation.route import find_ending
from ..result import Explanation
from .objective import Ask, Maps, Pass, asking, explanation_of, side_by_side
from .positions import Layer, check_linear, find_layer, resized
from .rectifiers import signal_pass
from .registry import register
from .replayed import derived, ends_of, notes_on, replay

Weighted = Callable[[Tensor, Tensor], Tensor]  # activations, gradients -> [N, 1, ...]


@register("cam", question="attribution", cost="a forward pass, and the layers behind `layer`")
def cam(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    layer: str | None = None,
) -> Explanation:
    """M_p = sum_k w_k A_kp, where the output is sum_p M_p and a bias (Zhou et al. 2016).

    A question about attribution, of positions. What follows the layer must be linear, such as
    global average pooling and one dense layer; then M is what Epsilon(0) gives there, summed over
    channels. Cost: a forward pass. Raises InvalidInput where it is not linear, InvalidTarget,
    UnknownName for a layer.
    """
    recording, where = _recorded(model, inputs, layer)
    check_linear(recording, where, find_ending(recording))
    run, maps = _activation_maps(recording, where, asking(target, class_axis), _contributions)
    return _laid_over("cam", inputs, recording, run, where, maps)


@register("grad-cam", question="attribution", cost="a forward pass, and the layers behind `layer`")
def grad_cam(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    layer: str | None = None,
) -> Explanation:
    """M_p = max(0, sum_k a_k A_kp), a_k the mean over positions of df/dA_k (Selvaraju et al. 2017).

    A question about attribution, of positions: a heuristic one, maps do not sum to the output.
    Cost: a forward pass, and forward and back through the layers behind `layer`. Raises
    InvalidInput, InvalidTarget, UnknownName for a layer.
    """
    recording, where = _recorded(model, inputs, layer)
    run, maps = _activation_maps(recording, where, asking(target, class_axis), _weighted_channels)
    return _laid_over("grad-cam", inputs, recording, run, where, maps)


@register("guided-grad-cam", question="signal", cost="1, and a forward pass to record")
def guided_grad_cam(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    layer: str | None = None,
) -> Explanation:
    """Guided backpropagation times Grad-CAM, interpolated (Selvaraju et al. 2017).

    A question about the signal. Cost: one gradient, and a forward pass to record. Raises as
    `grad_cam`, and InvalidInput for a model without ReLUs.
    """
    recording, where = _recorded(model, inputs, layer)
    ask = asking(target, class_axis)
    _, maps = _activation_maps(recording, where, ask, _weighted_channels)
    run = signal_pass("guided-backprop", recording, ask)
    products: Maps = []
    for found, each in zip(run.gradients, maps, strict=True):
        signal, image = found[where.input], recording.input_tensors[where.input]
        product = None if signal is None else signal * resized(each, image)
        products.append(_only(recording, where, product))
    return explanation_of(
        *("guided-grad-cam", inputs, run, products),
        pooling="l2",
        layers=_at_the_layer(where, run, maps),
        notes=(f"read at layer {where}",),
    )


def _recorded(model: Any, inputs: Any, layer: str | None) -> tuple[Recording, Layer]:
    if layer is not None and not isinstance(layer, str):
        raise InvalidInput(f"layer must be the name of a module, got {layer!r}")
    names = () if layer is None else (layer,)
    check_names(model, Options(layers=names))
    recording = record(model, inputs, layers=names)
    check_batch(recording.output_value, recording.input_tensors)
    return recording, find_layer(recording, layer)


def _contributions(activations: Tensor, gradients: Tensor) -> Tensor:
    return (activations * gradients).sum(1, keepdim=True)


def _weighted_channels(activations: Tensor, gradients: Tensor) -> Tensor:
    weights = gradients.mean(tuple(range(2, gradients.ndim)), keepdim=True)
    return (weights * activations).sum(1, keepdim=True).clamp(min=0)


def _activation_maps(
    recording: Recording, where: Layer, ask: Ask, weighted: Weighted
) -> tuple[Pass, list[Tensor]]:
    """For each map the layer's positions `[N, 1, ...]`, in float32 at least."""
    ending = find_ending(recording)
    with torch.inference_mode(False), torch.enable_grad():
        point = recording.tensor(where.value).detach().clone().requires_grad_()
        again = replay(recording, {where.value.index: point}, keep=ends_of(recording, ending))
        output = ending.output(again)
        start = ask(output.detach(), again.tensor(recording.output_value).detach())
        found = derived(output, [point], start.weights) if output.requires_grad else []
    notes = notes_on(recording, ending)
    run = Pass(output.detach(), start, [point], found, notes)
    maps = []
    for (gradient,) in found:
        if gradient is None:
            break
        pair = [t if t.dtype == torch.float64 else t.float() for t in (point.detach(), gradient)]
        maps.append(weighted(*pair))
    if len(maps) != len(start.weights):
        raise InvalidInput(f"the output does not depend on layer {where}")
    return run, maps


def _laid_over(
    method: str, inputs: Any, recording: Recording, run: Pass, where: Layer, maps: list[Tensor]
) -> Explanation:
    """The explanation whose relevance is the maps at the size of the input."""
    image = recording.input_tensors[where.input]
    laid = [
        _only(recording, where, (resized(each, image) / image.shape[1]).expand(image.shape))
        for each in maps
    ]
    layers, notes = _at_the_layer(where, run, maps), (f"read at layer {where}",)
    return explanation_of(method, inputs, run, laid, layers=layers, notes=notes)


def _at_the_layer(where: Layer, run: Pass, maps: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
    return {where.name: side_by_side([each.squeeze(1) for each in maps], run.start)}


def _only(recording: Recording, where: Layer, relevance: Tensor | None) -> list[Tensor | None]:
    """Relevance of the image, and nothing said about other inputs."""
    numbers = range(len(recording.input_tensors))
    return [relevance if number == where.input else None for number in numbers]
