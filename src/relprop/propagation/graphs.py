"""Graphs: a whole explanation as one CUDA graph, for each shape of the inputs.

A replay launches everything at once and runs no Python: what the model decides there is as it was
when the graph was captured. Weights may change between replays: fingerprints of those whose parts
are kept are taken in the graph too, and one that no longer fits ends it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InvalidInput, InvalidTarget
from ..result import Explanation
from .doubts import Doubts, doubting
from .routes import signature
from .workspace import Workspace

MOST = 8  # graphs, each with memory of its own
WARM = 3  # calls before capture: one records, the others follow and fill what is kept

Run = Callable[[Any, Any, Workspace], Explanation]


def capture(whole: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """What replays a function as a CUDA graph, and the tensors that a replay fills."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            whole()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = whole()
    return graph.replay, result


class Graphs:
    """The graphs of one explainer, by the shapes of the inputs and the kind of target."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._known: OrderedDict[Any, _Captured] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, inputs: Any, target: Any) -> Explanation | None:
        """The explanation; None where something that was relied on has changed."""
        given = _on_device(target, inputs)
        kind = (given.shape, given.dtype) if isinstance(given, Tensor) else given
        shapes = signature(inputs)
        if shapes is None:
            raise InvalidInput("cuda_graph=True needs inputs that are tensors and plain values")
        key = shapes, kind
        with self._lock:  # a graph has one set of inputs, and one of results
            captured = self._known.pop(key, None)
            if captured is None:
                captured = _captured(self.run, inputs, given)
            found = captured(inputs, given)
            if found is None:
                self._known.clear()
                return None
            self._known[key] = captured
            while len(self._known) > MOST:
                self._known.popitem(last=False)
            return found


class _Captured:
    """One graph, with the tensors that it reads and fills."""

    def __init__(self, run: Run, inputs: Any, target: Any) -> None:
        self.inputs, self.target = pytree.tree_map(_copy, (inputs, target))
        self.doubts, self.workspace = Doubts(), Workspace()

        def whole() -> tuple[Explanation, Tensor | None]:
            with doubting() as self.doubts:
                explanation = run(self.inputs, self.target, self.workspace)
                return explanation, self.doubts.joined()

        self.replay, (self.explanation, self.joined) = capture(whole)

    def __call__(self, inputs: Any, target: Any) -> Explanation | None:
        fixed = pytree.tree_leaves((self.inputs, self.target))
        for kept, given in zip(fixed, pytree.tree_leaves((inputs, target)), strict=True):
            if isinstance(kept, Tensor):
                kept.copy_(given)
        self.replay()
        found = _apart(self.explanation)
        return found if self.doubts.settle(self.joined) else None


def _captured(run: Run, inputs: Any, target: Any) -> _Captured:
    try:
        return _Captured(run, inputs, target)
    except RuntimeError as error:
        raise InvalidInput(
            f"the model cannot be captured as a CUDA graph ({error}); leave cuda_graph=True out"
        ) from error


def _on_device(target: Any, inputs: Any) -> Any:
    """A target whose data a graph can read: classes or weights as a tensor beside the inputs."""
    first = next(leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    if target is None or isinstance(target, str):
        return target
    if isinstance(target, (Tensor, np.ndarray)):
        return torch.as_tensor(target, device=first.device)
    if hasattr(target, "__index__") and not isinstance(target, bool):
        return torch.full(first.shape[:1], int(target), device=first.device)
    whole = isinstance(target, Sequence) and all(hasattr(item, "__index__") for item in target)
    if not whole:
        raise InvalidTarget(
            f"target {target!r} cannot be captured as a CUDA graph: give None, a class, a class "
            "per sample, weights as a tensor, or 'all'; or leave cuda_graph=True out"
        )
    return torch.as_tensor(target, device=first.device)


def _apart(explanation: Explanation) -> Explanation:
    """A copy that the next replay does not overwrite."""
    relevance, output, target, layers = pytree.tree_map(
        _copy,
        (explanation.relevance, explanation.output, explanation.target, explanation.layers),
    )
    return replace(
        explanation,
        relevance=relevance,
        output=output,
        target=target,
        layers=layers,
        ledger=None if explanation.ledger is None else explanation.ledger.copied(),
    )


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
