"""Baselines: maps of random numbers and of edges. They do not look at the model."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..propagation.checks import check_batch
from ..propagation.record import record
from ..propagation.recording import Recording
from ..propagation.route import find_ending
from ..result import Explanation
from .objective import Maps, Pass, asking, explanation_of, tensors_of
from .options import whole_number
from .registry import register
from .replayed import embeddings, notes_on


@register("random", question="baseline", cost="a forward pass, for the output")
def random(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1, seed: int = 0
) -> Explanation:
    """Uniform numbers in [-1, 1), drawn anew for each sample, input and target.

    What a map is worth that knows nothing. They depend on `seed` and on the sample itself, so that
    a batch equals its samples one by one; token ids get a number each. Cost: one forward pass, for
    the output and the target. Raises InvalidInput, InvalidTarget.
    """
    whole_number("random", "seed", seed, least=0)
    recording = record(model, inputs, layers=())
    run = _output_of(recording, target, class_axis)
    tokens = embeddings(recording)
    maps: Maps = [
        [
            _drawn(tensor, (seed, number, k))
            if tensor.is_floating_point() or number in tokens
            else None
            for number, tensor in enumerate(tensors_of(inputs))
        ]
        for k in range(len(run.start.weights))
    ]
    return explanation_of("random", inputs, run, maps)


@register("edges", question="baseline", cost="a forward pass, for the output")
def edges(model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1) -> Explanation:
    """The magnitude of Sobel's derivative of each channel, `[N, C, ...]` with one to three axes.

    What a map is worth that only knows the input. The same for every target. Cost: one forward
    pass, for the output and the target. Raises InvalidInput for inputs without positions,
    InvalidTarget.
    """
    run = _output_of(record(model, inputs, layers=()), target, class_axis)
    found = [
        _edges(tensor) if tensor.is_floating_point() else None for tensor in tensors_of(inputs)
    ]
    if not any(each is not None for each in found):
        raise InvalidInput("edges need inputs with positions, and all of these are integers")
    return explanation_of("edges", inputs, run, [found] * len(run.start.weights))


def _output_of(recording: Recording, target: Any, class_axis: int) -> Pass:
    """The output before its ending, and what the target says about it."""
    check_batch(recording.output_value, recording.input_tensors)
    ending = find_ending(recording)
    output = ending.output(recording)
    start = asking(target, class_axis)(output, recording.tensor(recording.output_value))
    return Pass(output, start, [], [], notes_on(recording, ending))


def _drawn(tensor: Tensor, numbers: tuple[int, ...]) -> Tensor:
    """Random numbers for each sample of an input."""
    generator = torch.Generator()
    draws = []
    for sample in tensor.cpu():
        content = sample.reshape(-1).contiguous().view(torch.uint8).numpy()
        key = crc32(repr(numbers).encode(), crc32(content.tobytes()))
        generator.manual_seed(key)
        draws.append(torch.rand(sample.shape, generator=generator) * 2 - 1)
    return torch.stack(draws).to(tensor.device)


def _edges(tensor: Tensor) -> Tensor:
    """The length of Sobel's gradient: a difference along one axis, smoothed along the others."""
    if not 3 <= tensor.ndim <= 5:
        raise InvalidInput(
            f"edges need inputs with positions, [N, C, T] to [N, C, D, H, W], got "
            f"{tuple(tensor.shape)}"
        )
    squares = torch.zeros_like(tensor)
    axes = range(2, tensor.ndim)
    for axis in axes:
        found = tensor
        for other in axes:
            weights = (-0.5, 0.0, 0.5) if other == axis else (0.25, 0.5, 0.25)
            found = _filtered(found, other, weights)
        squares += found.square()
    return squares.sqrt()


def _filtered(tensor: Tensor, axis: int, weights: tuple[float, ...]) -> Tensor:
    """A filter of three weights along an axis, the border repeated."""
    first, last = tensor.narrow(axis, 0, 1), tensor.narrow(axis, tensor.shape[axis] - 1, 1)
    wide = torch.cat([first, tensor, last], axis)
    parts = (wide.narrow(axis, k, tensor.shape[axis]) * w for k, w in enumerate(weights))
    return torch.stack(list(parts)).sum(0)
