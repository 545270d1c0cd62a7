"""What the output loses when parts of the input are taken away: occlusion, ablation, LIME, SHAP.

They run through Captum, on the outputs before a softmax that ends the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from ..result import Explanation
from .options import amount, whole_number
from .registry import register
from .subject import Maps, Subject, explained
from .surrogates import WeightedRidge, any_choice, differing, shapley_choice
from .through_captum import attributed, captum_attributions

SQUARES = 8  # along the longer side of an image, where nothing else is asked for


@register("occlusion", question="sampling", cost="a forward pass for each place of the window")
def occlusion(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    window: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] | None = None,
    reference: Any = 0.0,
    at_once: int = 16,
) -> Explanation:
    """By how much the output falls when a window is covered (Zeiler and Fergus 2014).

    A question by sampling: what if parts were replaced? `window`: its edge in positions, over all
    channels (None: an eighth of the longer side), or its shape as that of one sample; `stride`
    likewise (None: half the window); `reference`: what it is covered with, a number or a tensor
    that broadcasts to the input. A component in several windows gets their mean. Relevance is
    shaped like the input. Cost: a forward pass for each place, `at_once` of them together.

    Raises InvalidInput, RelpropError without Captum.
    """
    attr = captum_attributions("occlusion")
    whole_number("occlusion", "at_once", at_once)

    def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
        x = _only(subject, "occlusion")
        default = max(1, -(-max(x.shape[2:] or x.shape[1:]) // SQUARES))
        shape = _per_axis("window", default if window is None else window, x, limit=True)
        half = tuple(max(1, size // 2) for size in shape)
        steps = half if stride is None else _per_axis("stride", stride, x)
        return attributed(
            *(subject, attr.Occlusion, weights, "occlusion"),
            sliding_window_shapes=shape,
            strides=steps,
            baselines=_reference(x, reference),
            perturbations_per_eval=at_once,
        )

    return explained(model, inputs, target, class_axis, maps, method="occlusion")


@register("feature-ablation", question="sampling", cost="a forward pass for each segment")
def feature_ablation(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    segments: Any = None,
    reference: Any = 0.0,
    at_once: int = 16,
) -> Explanation:
    """By how much the output falls when a segment is replaced, shared evenly among its components.

    A question by sampling: what if parts were replaced? `segments`: the edge of squares over all
    channels, an integer tensor of labels that broadcasts to one sample, or None (every component by
    itself); `reference`: what replaces them. Otherwise as "occlusion". Cost: a forward pass for
    each segment.
    """
    attr = captum_attributions("feature-ablation")
    whole_number("feature-ablation", "at_once", at_once)

    def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
        x = _only(subject, "feature-ablation")
        each = torch.arange(x[0].numel(), device=x.device).reshape(x.shape[1:])
        labels = each if segments is None else segments_of(x, segments)
        found = attributed(
            *(subject, attr.FeatureAblation, weights, "feature-ablation"),
            feature_mask=labels[None],
            baselines=_reference(x, reference),
            perturbations_per_eval=at_once,
        )
        return [_shared(found[0], labels)]

    return explained(model, inputs, target, class_axis, maps, method="feature-ablation")


@register("lime", question="sampling", cost="`samples` forward passes, and a small regression")
def lime(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    segments: Any = None,
    samples: int = 256,
    reference: Any = 0.0,
    alpha: float = 1.0,
    seed: int = 0,
    at_once: int = 16,
) -> Explanation:
    """A linear model of which segments are there, fitted around the input (Ribeiro et al. 2016).

    A question by sampling: what if parts were replaced? `segments`: the edge of squares over all
    channels (None: an eighth of the longer side; every component of what is no image), or an
    integer tensor of labels that broadcasts to one sample; a segment's coefficient is shared evenly
    among its components. `samples` random choices of segments, drawn with `seed` for each input
    anew; `reference`: what stands for the others (segments that are equal to it get zero); `alpha`:
    the penalty on squared coefficients.
    Relevance is shaped like the input. Cost: `samples` forward passes, `at_once` of them together.

    Raises InvalidInput, RelpropError without Captum.
    """
    attr = captum_attributions("lime")
    amount("lime", "alpha", alpha)

    def make(scored: nn.Module) -> Any:
        choices = any_choice(torch.Generator().manual_seed(seed))
        fitted = WeightedRidge(alpha)
        return attr.Lime(scored, interpretable_model=fitted, perturb_func=choices)

    maps = _surrogate("lime", make, segments, samples, reference, seed, at_once)
    return explained(model, inputs, target, class_axis, maps, method="lime")


@register("kernel-shap", question="sampling", cost="`samples` forward passes, and a regression")
def kernel_shap(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    segments: Any = None,
    samples: int = 256,
    reference: Any = 0.0,
    seed: int = 0,
    at_once: int = 16,
) -> Explanation:
    """Estimated Shapley values of segments: they sum to f(x) - f(reference) (Lundberg, Lee 2017).

    A question by sampling. Options and cost as those of "lime"; there should be clearly more
    samples than segments.
    """
    attr = captum_attributions("kernel-shap")

    def make(scored: nn.Module) -> Any:
        made = attr.KernelShap(scored)
        made.perturb_func = shapley_choice(torch.Generator().manual_seed(seed))
        made.interpretable_model = WeightedRidge(0.0)
        return made

    maps = _surrogate("kernel-shap", make, segments, samples, reference, seed, at_once)
    return explained(model, inputs, target, class_axis, maps, method="kernel-shap")


def _surrogate(
    method: str,
    make: Callable[[nn.Module], Any],
    segments: Any,
    samples: int,
    reference: Any,
    seed: int,
    at_once: int,
) -> Maps:
    """One regression for each sample, all from the same random numbers."""
    whole_number(method, "samples", samples, least=2)
    whole_number(method, "at_once", at_once)
    whole_number(method, "seed", seed, least=0)

    def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
        x = _only(subject, method)
        labels = segments_of(x, segments)
        if int(labels.max()) == 0:
            raise InvalidInput(f"method {method!r} compares segments, and there is only one")
        baselines = torch.as_tensor(_reference(x, reference)).to(x).expand(x.shape)
        found = torch.zeros_like(x)
        for sample, (image, baseline) in enumerate(zip(x, baselines, strict=True)):
            players, plays = differing(labels, image, baseline)
            if not bool(plays.any()):
                continue
            values = attributed(
                *(subject, make, weights, method),
                samples=slice(sample, sample + 1),
                feature_mask=players[None],
                baselines=baseline[None],
                n_samples=samples,
                perturbations_per_eval=at_once,
            )
            found[sample] = torch.where(plays, values[0][0], 0.0)
        return [_shared(found, labels)]

    return maps


def segments_of(x: Tensor, segments: Any) -> Tensor:
    """Labels 0, 1, ... in the shape of one sample: squares, or as given. Raises InvalidInput."""
    shape = x.shape[1:]
    if segments is None and x.ndim != 4:
        return torch.arange(shape.numel(), device=x.device).reshape(shape)
    if segments is None:
        segments = max(1, -(-max(shape[1:]) // SQUARES))
    if isinstance(segments, int) and not isinstance(segments, bool) and segments > 0:
        if x.ndim != 4:
            raise InvalidInput(
                f"squares of edge {segments} need images [N, C, H, W], got {tuple(x.shape)}; give "
                "segments= as labels"
            )
        rows, columns = (_evenly(size, segments).to(x.device) for size in shape[1:])
        labels = rows[:, None] * (int(columns[-1]) + 1) + columns
        return labels.expand(shape).contiguous()
    try:
        labels = torch.as_tensor(segments).to(x.device).expand(shape)
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError("labels are whole numbers")
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"segments= must be a whole number or integer labels that broadcast to {tuple(shape)}"
        ) from error
    return torch.unique(labels, return_inverse=True)[1].reshape(shape)


def _evenly(size: int, edge: int) -> Tensor:
    """`[size]`: numbers of pieces of about this edge, none smaller than the others by more than one
    position: a small piece at the border would get a large share a component.
    """
    pieces = max(1, round(size / edge))
    return torch.arange(size) * pieces // size


def _shared(found: Tensor, labels: Tensor) -> Tensor:
    """What each segment has, shared evenly among its components."""
    return found / labels.flatten().bincount()[labels]


def _only(subject: Subject, method: str) -> Tensor:
    if len(subject.tensors) != 1:
        raise InvalidInput(
            f"method {method!r} takes a single input, got {len(subject.tensors)}; fix the others "
            "with a lambda, or use relprop.methods.captum_method"
        )
    return subject.floats[0]


def _reference(x: Tensor, reference: Any) -> Any:
    """A number, or a tensor shaped like the input."""
    if isinstance(reference, (int, float)) and not isinstance(reference, bool):
        return float(reference)
    try:
        return torch.as_tensor(reference).to(x).expand(x.shape)
    except (RuntimeError, TypeError, ValueError):
        raise InvalidInput(
            f"reference= must be a number or broadcast to the input {tuple(x.shape)}"
        ) from None


def _per_axis(name: str, given: Any, x: Tensor, *, limit: bool = False) -> tuple[int, ...]:
    """A size for every axis of a sample; a single number leaves channels whole."""
    shape = x.shape[1:]
    if isinstance(given, int) and len(shape) > 1:
        first = shape[0] if limit else 1
        given = (first, *[given] * (len(shape) - 1))
    sizes = given if isinstance(given, tuple) else (given,)
    if len(sizes) != len(shape) or not all(_is_size(size) for size in sizes):
        raise InvalidInput(
            f"{name}= must be a positive whole number, or one for each axis of {tuple(shape)}, "
            f"got {given!r}"
        )
    pairs = zip(sizes, shape, strict=True)
    return tuple(min(size, most) for size, most in pairs) if limit else tuple(sizes)


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0
