"""Targets of classical models: which of their decisions relevance starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from ..errors import InvalidTarget
from .shared import Floats
from .walking import Decided


@dataclass(frozen=True, eq=False)
class Start:
    """`weights`: `[n, K]` for each map; `target` as the explanation shows it."""

    weights: list[Floats]
    target: Any
    single: bool


def choose_start(decided: Decided, target: Any) -> Start:
    """Where relevance starts. Raises InvalidTarget with what was given and what is possible."""
    if hasattr(target, "detach"):  # a tensor
        target = target.detach().cpu().numpy()
    if isinstance(target, np.ndarray) and target.dtype.kind != "f":
        target = target.tolist()
    if target is None:
        return _predicted(decided)
    if isinstance(target, str) and target == "all" and "all" not in decided.classes:
        one_hots = [_one(decided, k, 1.0) for k in range(len(decided.names))]
        return Start(one_hots, "all", False)
    if isinstance(target, Mapping):
        groups = {
            str(name): members if isinstance(members, list) else [members]
            for name, members in target.items()
        }
        sums = [sum(_weights_of(decided, member) for member in group) for group in groups.values()]
        return Start([np.asarray(weights) for weights in sums], groups, False)
    if callable(target):
        return _weighted(decided, target(_shown(decided.scores)))
    if _holds_floats(decided, target):
        return _weighted(decided, target)
    if _is_one(decided, target):
        return Start([_weights_of(decided, target)], _plain(target), True)
    return _one_each(decided, target)


def _predicted(decided: Decided) -> Start:
    count = len(decided.names)
    if decided.kind == "pairs":
        raise InvalidTarget(
            "one against one: this model's classes are chosen by the votes of pairs of classes, "
            "and votes are no sum that could be shared. Explain a pair, "
            f"target={decided.names[0]!r} ({_pairs(decided)}), or all of them, target='all'; or "
            "train one decision a class: sklearn.multiclass.OneVsRestClassifier"
        )
    if count == 1:
        return Start([np.ones_like(decided.scores)], decided.names[0], True)
    if decided.kind == "values":
        raise InvalidTarget(
            f"the model has {count} outputs and none is the predicted one; choose: "
            f"target=0 ... {count - 1}, weights, or 'all'"
        )
    best = decided.scores.argmax(1) if decided.predicted is None else decided.predicted
    return Start([np.eye(count)[best]], [decided.names[k] for k in best], True)


def _weighted(decided: Decided, given: Any) -> Start:
    """Relevance starts at weights * scores."""
    shape = decided.scores.shape
    weights = np.asarray(given, dtype=np.float64)
    if weights.ndim == 1 and shape[1] == 1 and len(weights) == shape[0]:
        weights = weights[:, None]
    try:
        weights = np.array(np.broadcast_to(weights, shape))
    except ValueError:
        raise InvalidTarget(
            f"weights are {list(weights.shape)} and the model's output is {list(shape)}: give "
            f"[{shape[1]}] or {list(shape)}"
        ) from None
    if not np.isfinite(weights).all():
        raise InvalidTarget("weights must be finite")
    return Start([weights], weights, True)


def _one_each(decided: Decided, target: Any) -> Start:
    samples = len(decided.scores)
    listed = target if isinstance(target, (list, tuple)) else None
    if listed is None or len(listed) != samples:
        raise InvalidTarget(
            f"target {target!r} is not understood: {possible(decided)}; one for each of "
            f"{samples} samples; float weights; or 'all'"
        )
    rows = [_weights_of(decided, entry)[i] for i, entry in enumerate(listed)]
    return Start([np.stack(rows)], [_plain(entry) for entry in listed], True)


def _weights_of(decided: Decided, target: Any) -> Floats:
    if not _is_one(decided, target):
        raise InvalidTarget(f"there is no output {target!r}: {possible(decided)}")
    if decided.kind == "pairs":
        first, second = (decided.classes[_known(decided, entry)] for entry in target)
        if (first, second) in decided.names:
            return _one(decided, decided.names.index((first, second)), 1.0)
        return _one(decided, decided.names.index((second, first)), -1.0)
    if decided.kind == "binary":
        return _one(decided, 0, 1.0 if _known(decided, target) == 1 else -1.0)
    if decided.kind == "classes":
        return _one(decided, _known(decided, target), 1.0)
    if target == decided.names[0]:
        return _one(decided, 0, 1.0)
    return _one(decided, int(target), 1.0)


def _is_one(decided: Decided, target: Any) -> bool:
    """Whether this names one output."""
    if decided.kind == "pairs":
        return (
            isinstance(target, (tuple, list))
            and len(target) == 2
            and all(_class(decided, entry) is not None for entry in target)
            and _class(decided, target[0]) != _class(decided, target[1])
        )
    if decided.kind == "values":
        named = isinstance(target, str) and target in decided.names
        return named or (_is_index(target) and 0 <= target < len(decided.names))
    return _class(decided, target) is not None


def _class(decided: Decided, target: Any) -> int | None:
    """The index of a class: by its label; by its index only where labels are no numbers."""
    target = _plain(target)
    if isinstance(target, (list, tuple, dict, np.ndarray)) or target is None:
        return None
    if target in decided.classes:
        return decided.classes.index(target)
    numeric = all(isinstance(label, (int, float)) for label in decided.classes)
    if not numeric and _is_index(target) and 0 <= target < len(decided.classes):
        return int(target)
    return None


def _known(decided: Decided, target: Any) -> int:
    """The index of a class; InvalidTarget where there is no such class."""
    index = _class(decided, target)
    if index is None:
        raise InvalidTarget(f"there is no class {target!r}: {possible(decided)}")
    return index


def _holds_floats(decided: Decided, target: Any) -> bool:
    """Whether these are weights: floats that are not all labels of classes."""
    if isinstance(target, np.ndarray):
        return True
    return (
        isinstance(target, (list, tuple))
        and len(target) > 0
        and all(isinstance(entry, float) for entry in target)
        and not all(entry in decided.classes for entry in target)
    )


def _one(decided: Decided, output: int, weight: float) -> Floats:
    weights = np.zeros_like(decided.scores)
    weights[:, output] = weight
    return weights


def _plain(target: Any) -> Any:
    """numpy's scalars as Python's, which can be saved."""
    if isinstance(target, (list, tuple)):
        return type(target)(_plain(entry) for entry in target)
    return target.item() if isinstance(target, np.generic) else target


def _is_index(target: Any) -> bool:
    return isinstance(target, Integral) and not isinstance(target, bool)


def _shown(scores: Floats) -> Floats:
    return scores[:, 0] if scores.shape[1] == 1 else scores


def _pairs(decided: Decided) -> str:
    return "or another of " + ", ".join(str(pair) for pair in decided.names[1:4])


def possible(decided: Decided) -> str:
    """The targets of this model, for an error."""
    if decided.kind == "values":
        return f"possible are {', '.join(repr(name) for name in decided.names)}"
    text = ", ".join(repr(label) for label in decided.classes[:10])
    if len(decided.classes) > 10:
        text += ", ..."
    if decided.kind == "pairs":
        return f"possible are pairs of the classes {text}"
    return f"possible are the classes {text}"
