"""Captum's attributions as methods, asked about outputs before a softmax that ends the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InvalidInput, RelpropError
from ..result import Explanation
from .registry import METHODS, Method
from .subject import Subject, explained

MISSING = "method {!r} needs Captum, which is not installed: pip install 'relprop[methods]'"


class Scored(nn.Module):
    """The model that Captum sees: inputs and weights of the outputs to the score `[M]` of each."""

    def __init__(self, subject: Subject):
        super().__init__()
        self.model = subject.model
        self.subject = subject

    def forward(self, *tensors: Tensor) -> Tensor:
        """Real-valued inputs, then the others, then the weights: all with the same samples."""
        floats = iter(tensors[: len(self.subject.floats)])
        others = iter(tensors[len(self.subject.floats) : -1])
        given = [next(floats if t.is_floating_point() else others) for t in self.subject.tensors]
        return self.subject.score(given, tensors[-1])


def captum_method(
    attribution: Callable[[nn.Module], Any],
    *,
    name: str | None = None,
    question: str = "attribution",
    cost: str = "as Captum's",
    seed: int = 0,
    **options: Any,
) -> Method:
    """Make a method of a Captum attribution, to be called, or asked for by `name`.

    Args:
        attribution: a class of `captum.attr` that explains inputs, or a function from a model to
            such an object: `lambda model: NoiseTunnel(Saliency(model))`.
        name: the method is registered under it for `relprop.explain(..., method=name)`.
        question: which question it answers: function, signal, attribution or sampling.
        cost: what it costs, in words.
        seed: of the random numbers that the attribution draws; they are the process's, so that
            other threads that draw from them meanwhile change them.
        options: what its `attribute` is called with (`baselines=`, `n_steps=`, ...).

    The method raises InvalidInput where the attribution is not shaped like the inputs.
    """
    label = name or f"captum:{getattr(attribution, '__name__', 'attribution')}"

    def method(model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1) -> Explanation:
        """The attribution of Captum."""

        def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
            with _seeded(seed, subject.floats):
                return attributed(subject, attribution, weights, label, **options)

        return explained(model, inputs, target, class_axis, maps, method=label)

    made = Method(label, question, cost, method)
    if name is not None:
        METHODS[name] = made
    return made


def attributed(
    subject: Subject,
    attribution: Callable[[nn.Module], Any],
    weights: Tensor,
    method: str,
    *,
    samples: slice = slice(None),
    **options: Any,
) -> list[Tensor]:
    """What Captum gives to each of the real-valued inputs of some samples."""
    floats = [tensor[samples].clone() for tensor in subject.floats]
    extras = [t[samples] for t in subject.tensors if not t.is_floating_point()]
    given = tuple(floats) if len(floats) > 1 else floats[0]
    with torch.enable_grad():
        attributor = attribution(Scored(subject))
        more = (*extras, weights[samples])
        found = attributor.attribute(given, additional_forward_args=more, **options)
    found = [each.detach() for each in (found if isinstance(found, tuple) else (found,))]
    shapes = [tuple(each.shape) for each in found]
    if shapes != [tuple(each.shape) for each in floats]:
        raise InvalidInput(
            f"{method!r} returned {shapes}, which is not shaped like the inputs: only attributions "
            "to inputs are methods"
        )
    return found


@contextmanager
def _seeded(seed: int, tensors: Sequence[Tensor]) -> Iterator[None]:
    """The process's random numbers begin at `seed`, and afterwards where they were."""
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    state = np.random.get_state()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def captum_attributions(method: str) -> Any:
    """`captum.attr`, imported when it is needed. Raises RelpropError where it is missing."""
    try:
        from captum import attr
    except ImportError as error:
        raise RelpropError(MISSING.format(method)) from error
    return attr
