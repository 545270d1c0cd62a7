"""DeepLIFT: what the differences from a reference input contribute (Shrikumar et al. 2017)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InvalidInput, RelpropWarning, UnknownName
from ..result import Explanation
from .objective import Maps, Pass, asking, explanation_of
from .pair import Pair
from .registry import register
from .rescale import Rescale
from .reveal_cancel import RevealCancel

RULES: dict[str, type[Rescale] | type[RevealCancel]] = {
    "rescale": Rescale,
    "reveal-cancel": RevealCancel,
}
INCOMPLETE = 1e-2
SMALLEST = 1e-30


@register("deeplift", question="attribution", cost="about 4; 7 with reveal-cancel")
def deeplift(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    rule: str = "rescale",
    reference: Any = 0.0,
) -> Explanation:
    """Contributions of the differences from a reference: they sum to f(x) - f(reference).

    A question about attribution, relative to the reference. `rule`: "rescale" or
    "reveal-cancel", which keeps what speaks for and against apart. `reference`: a number for all
    components, or the structure of the inputs with tensors that broadcast to them (None: that input
    stays as it is). Relevance is shaped like the inputs, `[N, T]` at token ids. Cost: two runs of
    the model and one walk back a target.

    Raises InvalidInput for a reference that does not fit, UnknownName for a rule, and
    UnsupportedOperation where the model takes another way at the reference, or for an operation
    that the rule does not cover.
    """
    if rule not in RULES:
        raise UnknownName("DeepLIFT rule", rule, RULES)
    with torch.inference_mode(False), torch.no_grad():
        pair = Pair.of(model, inputs, _references(inputs, reference))
        output = pair.outputs[0]
        start = asking(target, class_axis)(output, pair.x.tensor(pair.x.output_value))
        walk = RULES[rule](pair)
        found = [walk.contributions(weights) for weights in start.weights]
        notes = (*pair.notes, _completeness(pair, start.weights, found))
        return explanation_of(
            "deeplift", inputs, Pass(output, start, [], [], notes), found, preset=rule
        )


def _completeness(pair: Pair, weights: Sequence[Tensor], maps: Maps) -> str:
    """How far contributions are from f(x) - f(reference), for the notes."""
    change = pair.outputs[0] - pair.outputs[1]
    worst = 0.0
    for weight, entries in zip(weights, maps, strict=True):
        wanted = (weight * change).reshape(len(change), -1).sum(1)
        held = torch.cat([m.reshape(len(change), -1) for m in entries if m is not None], 1)
        scale = torch.maximum(wanted.abs(), held.abs().sum(1)).clamp(min=SMALLEST)
        worst = max(worst, float(((wanted - held.sum(1)).abs() / scale).max()))
    if worst > INCOMPLETE:
        warnings.warn(
            f"the contributions miss f(x) - f(reference) by up to {worst:.1%} of what they hold: "
            "an operation that is neither linear nor element-wise changes abruptly between the two",
            RelpropWarning,
            stacklevel=4,
        )
    return f"contributions miss f(x) - f(reference) by at most {worst:.1e} of what they hold"


def _references(inputs: Any, reference: Any) -> Any:
    """The reference in the structure of the inputs."""
    flat, structure = pytree.tree_flatten(inputs)
    if isinstance(reference, (int, float)) and not isinstance(reference, bool):
        if not any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in flat):
            raise InvalidInput(
                "a number is no reference for token ids: give reference= as a tensor of ids, such "
                "as the padding token's"
            )
        return pytree.tree_map(
            lambda leaf: (
                torch.full_like(leaf, reference)
                if isinstance(leaf, Tensor) and leaf.is_floating_point()
                else leaf
            ),
            inputs,
        )
    entries = [reference] if len(flat) == 1 else _entries(inputs, reference)
    if len(entries) != len(flat):
        raise InvalidInput(f"reference= has {len(entries)} entries for {len(flat)} inputs")
    pairs = zip(flat, entries, strict=True)
    return pytree.tree_unflatten([_beside(leaf, entry) for leaf, entry in pairs], structure)


def _entries(inputs: Any, reference: Any) -> list[Any]:
    if isinstance(inputs, Mapping) and isinstance(reference, Mapping):
        return [reference.get(key) for key in inputs]
    if isinstance(reference, (tuple, list)) and not isinstance(inputs, Mapping):
        return list(reference)
    raise InvalidInput(
        f"reference= must be a number or have the structure of the inputs, {type(inputs).__name__}"
    )


def _beside(leaf: Any, entry: Any) -> Any:
    if entry is None or not isinstance(leaf, Tensor):
        return leaf
    try:
        return torch.as_tensor(entry).to(leaf).expand(leaf.shape)
    except (RuntimeError, TypeError, ValueError):
        shape = tuple(entry.shape) if isinstance(entry, Tensor) else type(entry).__name__
        raise InvalidInput(
            f"a reference of {shape} does not broadcast to the input {tuple(leaf.shape)}"
        ) from None
