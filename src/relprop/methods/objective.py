"""What is asked of a model, and what comes back: gradients of its outputs, maps made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InvalidInput
from ..propagation.ledger import Ledger
from ..propagation.targets import Start, choose_start, predicted
from ..result import Explanation

Maps = list[list[Tensor | None]]  # [map][input], as many maps as the target has
Ask = Callable[[Tensor, Tensor], Start]


@dataclass(frozen=True, eq=False)
class Pass:
    """One run of a model, and the gradients of what was asked of it.

    `output`: what the model said, before a final softmax or sigmoid. `points`: for each tensor
    among the inputs where gradients are taken: a copy of it, the embedding `[N, T, E]` of token
    ids, or None. `gradients[map][input]` are shaped like them.
    """

    output: Tensor
    start: Start
    points: list[Tensor | None]
    gradients: Maps
    notes: tuple[str, ...] = ()


def tensors_of(inputs: Any) -> list[Tensor]:
    """The tensors among the inputs."""
    return [leaf.detach() for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]


def asking(target: Any, class_axis: int = -1) -> Ask:
    """What `target` asks for, once the output without its ending and with it are known."""

    def ask(output: Tensor, said: Tensor) -> Start:
        chosen = predicted(said, class_axis) if target is None else target
        return choose_start(output, chosen, class_axis)

    return ask


def gradients_at(
    output: Tensor, points: Sequence[Tensor | None], weights: Sequence[Tensor]
) -> Maps:
    """For each of the weights the gradients of sum(weights * output) at all points."""
    present = [point for point in points if point is not None]
    found: Maps = []
    for number, weight in enumerate(weights, start=1):
        again = number < len(weights)
        each = iter(
            torch.autograd.grad(output, present, weight, retain_graph=again, allow_unused=True)
        )
        found.append([None if point is None else next(each) for point in points])
    return found


def explanation_of(
    method: str,
    inputs: Any,
    run: Pass,
    maps: Maps,
    *,
    pooling: str = "sum",
    preset: str | None = None,
    layers: dict[str, Tensor | list[Tensor]] | None = None,
    ledger: Ledger | None = None,
    notes: tuple[str, ...] = (),
) -> Explanation:
    """The maps in the structure of the inputs; with an axis of targets where there are several.

    Raises InvalidInput where a map is not finite.
    """
    flat, structure = pytree.tree_flatten(inputs)
    entries = iter([_entry(method, each, run.start) for each in zip(*maps, strict=True)])
    leaves = [next(entries) if isinstance(leaf, Tensor) else None for leaf in flat]
    return Explanation(
        relevance=pytree.tree_unflatten(leaves, structure),
        output=run.output.detach().clone(),
        target=run.start.target,
        method=method,
        preset=preset,
        layers=layers or {},
        ledger=ledger,
        notes=(*run.notes, *notes),
        grouped=not run.start.single,
        pooling=pooling,
    )


def side_by_side(maps: Sequence[Tensor], start: Start) -> Tensor:
    """`[N, ...]` for a single target, otherwise `[N, K, ...]`; in float32 at least."""
    wide = [each.detach() for each in maps]
    joined = wide[0] if start.single else torch.stack(wide, 1)
    return (joined if joined.dtype == torch.float64 else joined.float()).contiguous()


def _entry(method: str, maps: Sequence[Tensor | None], start: Start) -> Tensor | None:
    present = [each for each in maps if each is not None]
    if not present:
        return None
    joined = side_by_side(present, start)
    if not bool(torch.isfinite(joined).all()):
        raise InvalidInput(
            f"the map of method {method!r} has NaN or infinite values: the output has no finite "
            "gradient at this input (a square root or a norm at zero?)"
        )
    return joined
