"""The gradient of the output, and what is read directly off it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import UnknownName
from ..result import Explanation
from .objective import Maps, asking, explanation_of, tensors_of
from .plain import Differentiator
from .registry import register

POOLINGS = {"l2": "l2", "linf": "max"}


@register("gradient", question="function", cost="1")
def gradient(model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1) -> Explanation:
    """df/dx: how the output would change with each input component.

    A question about the function; maps are signed. Cost: one gradient, in time and memory; twice
    the time where the model must be recorded (it runs without gradients, or reshapes after a
    softmax that ends it). Raises InvalidInput, InvalidTarget, UnsupportedOperation.
    """
    run = Differentiator(model)(inputs, asking(target, class_axis))
    return explanation_of("gradient", inputs, run, run.gradients)


@register("sensitivity", question="function", cost="1")
def sensitivity(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1, norm: str = "l2"
) -> Explanation:
    """R_p = ||df/dx_p|| over the channels of position p (thesis 3.1; Simonyan et al. 2014).

    A question about the function. The explanation keeps the gradient of each component; the norm,
    "l2" or "linf", is taken when a heatmap pools the channels, and over the embedding of each of
    token ids `[N, T]`. Cost and errors as `gradient`, and UnknownName for another norm.
    """
    if norm not in POOLINGS:
        raise UnknownName("norm", norm, POOLINGS)
    run = Differentiator(model, tokens=True)(inputs, asking(target, class_axis))
    order = 2.0 if norm == "l2" else float("inf")
    maps = _a_number_a_token(inputs, run.gradients, lambda each: each.norm(order, -1))
    return explanation_of("sensitivity", inputs, run, maps, pooling=POOLINGS[norm])


@register("gradient-x-input", question="attribution", cost="1")
def gradient_times_input(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1
) -> Explanation:
    """R_i = x_i df/dx_i: the terms of the output where the model is linear around the input.

    A question about attribution. Token ids `[N, T]` get the sum over their embedding. Equals
    Epsilon(0) on networks of ReLUs and max pooling (thesis 2.61). Cost and errors as `gradient`.
    """
    run = Differentiator(model, tokens=True)(inputs, asking(target, class_axis))
    products: Maps = [
        [
            None if gradient is None or point is None else gradient * point.detach()
            for gradient, point in zip(found, run.points, strict=True)
        ]
        for found in run.gradients
    ]
    maps = _a_number_a_token(inputs, products, lambda each: each.sum(-1))
    return explanation_of("gradient-x-input", inputs, run, maps)


def _a_number_a_token(inputs: Any, maps: Maps, pooled: Callable[[Tensor], Tensor]) -> Maps:
    """The maps, with those of embeddings pooled to one number for each token id."""
    tensors = tensors_of(inputs)
    return [
        [
            each
            if each is None or tensor.is_floating_point()
            else pooled(each).reshape(tensor.shape)
            for each, tensor in zip(found, tensors, strict=True)
        ]
        for found in maps
    ]
