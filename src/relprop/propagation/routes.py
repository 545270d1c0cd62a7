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

from .lrp import Options, find_route
from .operations.registry import overloads
from .operations.weights import Weights
from .record import record
from .recording import Recording
from .retrace import retrace
from .route import Route, remembered
from .workspace import Workspace

MOST = 8  # shapes of inputs
PATIENCE = 3  # departures from a route, one after the other
READS_MEMORY = set(overloads("as_strided", "as_strided_copy", "as_strided_scatter", "view.dtype"))


class Routes:
    """The routes of one model under one set of options, by the shapes of the inputs."""

    def __init__(self) -> None:
        self.weights = Weights()
        self._spare: list[Workspace] = []
        self._known: OrderedDict[Any, Route] = OrderedDict()

    @property
    def workspace_nbytes(self) -> int:
        """The memory of all workspaces that no call is using."""
        return sum(workspace.nbytes for workspace in self._spare)

    def forget(self) -> None:
        """Start afresh: something that was relied on has changed."""
        self._known.clear()
        self.weights.forget()

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

        Images come with channels last, in which convolutions on a processor are faster; a model
        that does something else then is given them as they are. One that leaves its route again and
        again (it branches on data, or its masks depend on them) is recorded in full each time.
        """
        self.weights.refresh()
        key = signature(inputs)
        route = self._known.get(key)
        departures, channels_last = 0, True
        if route is not None and route.departures < PATIENCE and route.is_current:
            recording = retrace(model, inputs, route)
            if recording is not None:
                if route.departures:
                    self._known[key] = replace(route, departures=0)
                return recording, route
            departures, channels_last = route.departures + 1, False
        elif route is not None:
            departures, channels_last = route.departures, route.channels_last
        recording = record(model, inputs, layers=options.layers)
        route = find_route(recording, options, self.weights)
        if key is not None and not recording.notes:
            last = channels_last and _convolves(model, inputs) and not _reads_memory(recording)
            self._known[key] = replace(remembered(route), channels_last=last, departures=departures)
            for weight in route.kernels.values():
                weight.last = last
                weight.live(torch.float32, channels_last=last)  # now, so that later calls need not
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return recording, route


def _reads_memory(recording: Recording) -> bool:
    """Whether an operation depends on where its elements lie."""
    return any(operation.target in READS_MEMORY for operation in recording.operations)


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


def signature(inputs: Any) -> Any:
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
