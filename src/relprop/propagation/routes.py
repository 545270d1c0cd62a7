"""Routes: what an explainer keeps between calls, and when it must look again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import InvalidInput, UnsupportedOperation
from .lrp import Options, find_route
from .operations.registry import overloads
from .operations.weights import Weights
from .record import record
from .recording import Operation, Recording
from .retrace import retrace
from .route import Route, remembered
from .workspace import Workspace

MOST = 8  # shapes of inputs
READS_MEMORY = set(overloads("as_strided", "as_strided_copy", "as_strided_scatter", "view.dtype"))


class Routes:
    """The routes of one model under one set of options, by the shapes of the inputs."""

    def __init__(self) -> None:
        self.weights = Weights()
        self._spare: list[Workspace] = []
        self._known: OrderedDict[Any, Route | None] = OrderedDict()

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """Memory to work in, for one call at a time."""
        try:
            found = self._spare.pop()
        except IndexError:
            found = Workspace()
        try:
            yield found
        finally:
            self._spare.append(found)

    def run(
        self, model: Callable[..., Any], inputs: Any, options: Options
    ) -> tuple[Recording, Route]:
        """Run the model: along a known route if it keeps to it, recorded in full otherwise.

        A model that left its route once (it branches on data, or its masks depend on them) is not
        tried again with these shapes.
        """
        key = _signature(inputs)
        route = self._known.get(key)
        if route is not None and route.is_current:
            recording = retrace(model, inputs, route)
            if recording is not None:
                return recording, route
        departs = key in self._known and (route is None or route.is_current)
        recording, channels_last = _record(model, inputs, options)
        route = replace(find_route(recording, options, self.weights), channels_last=channels_last)
        if key is not None:
            followable = not departs and not recording.notes
            self._known[key] = remembered(route) if followable else None
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return recording, route


def _record(model: Callable[..., Any], inputs: Any, options: Options) -> tuple[Recording, bool]:
    """Record in full, with channels last where that is faster and the model does not mind."""
    if _convolves(model, inputs):
        try:
            recording = record(model, inputs, layers=options.layers, channels_last=True)
        except (InvalidInput, UnsupportedOperation):
            pass  # it may read memory in its own order: as usual then
        else:
            if not any(_reads_memory(operation, recording) for operation in recording.operations):
                return recording, True
    return record(model, inputs, layers=options.layers), False


def _reads_memory(operation: Operation, recording: Recording) -> bool:
    """Whether an operation depends on where its elements lie (torch itself calls as_strided to no
    effect).
    """
    if operation.target not in READS_MEMORY:
        return False
    before, after = recording.tensor(next(operation.inputs())), recording.tensor(operation.output)
    return before.numel() != after.numel() or not torch.equal(before.reshape(after.shape), after)


def _convolves(model: Any, inputs: Any) -> bool:
    """Whether a model of images runs on a processor in single precision."""
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        return False
    images = [
        leaf
        for leaf in pytree.tree_leaves(inputs)
        if isinstance(leaf, Tensor) and leaf.ndim == 4 and leaf.dtype == torch.float32
    ]
    on_processor = bool(images) and all(image.device.type == "cpu" for image in images)
    return on_processor and any(isinstance(module, nn.Conv2d) for module in model.modules())


def _signature(inputs: Any) -> Any:
    """What runs along the same route have in common; None where that cannot be told."""
    flat, structure = pytree.tree_flatten(inputs)
    described = [
        (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in flat
    ]
    key = (str(structure), tuple(described))
    try:
        hash(key)
    except TypeError:
        return None
    return key
