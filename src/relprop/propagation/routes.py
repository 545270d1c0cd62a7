"""Routes: what an explainer keeps between calls, and when it must look again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from .lrp import Options, find_route
from .operations.weights import Weights
from .record import record
from .recording import Recording
from .retrace import retrace
from .route import Route, remembered

MOST = 8  # shapes of inputs


class Routes:
    """The routes of one model under one set of options, by the shapes of the inputs."""

    def __init__(self) -> None:
        self.weights = Weights()
        self._known: OrderedDict[Any, Route | None] = OrderedDict()

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
        recording = record(model, inputs, layers=options.layers)
        route = find_route(recording, options, self.weights)
        if key is not None:
            followable = not departs and not recording.notes
            self._known[key] = remembered(route) if followable else None
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return recording, route


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
