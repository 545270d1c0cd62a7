"""Retrace: run a model again along a known route, checking every operation, keeping only what is
needed.

The model itself runs, so nothing that it does differently goes unnoticed: an operation, an
argument, a constant or a shape that is not the expected one ends the attempt, and the run is
recorded in full instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .checks import check_inputs, check_mode, select_output
from .record import call_model, copied
from .recorder import (
    DECOMPOSED,
    SCALAR_READS,
    SHAPE_ONLY,
    Recorder,
    WholeFunctions,
    pure_form,
    traits,
)
from .recording import Operation, Recording, Value, is_continuous, leaves
from .route import Route
from .surroundings import unchanged

aten = torch.ops.aten


class Departed(BaseException):
    """The model did something else than on its route."""


def retrace(model: Callable[..., Any], inputs: Any, route: Route) -> Recording | None:
    """The recording of another run along the route; None where the model leaves it.

    Raises InvalidInput as `record` does.
    """
    check_mode(model)
    check_inputs(inputs)
    flat, structure = pytree.tree_flatten(inputs)
    tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
    copies = [copied(tensor, channels_last=route.channels_last) for tensor in tensors]
    follower = Follower(route, copies)
    entries = iter(copies)
    rebuilt = pytree.tree_unflatten(
        [next(entries) if isinstance(leaf, Tensor) else leaf for leaf in flat], structure
    )
    try:
        with unchanged(model, follower), torch.inference_mode(False), torch.no_grad():
            with WholeFunctions(follower), follower:
                output = select_output(call_model(model, rebuilt))
            arrived = follower.finished and follower.known.get(id(output))
    except Departed:
        return None
    finally:
        follower.forget()
    if arrived is not route.recording.output_value or not bool(torch.isfinite(output).all()):
        return None
    return route.again(follower.values, tensors, (flat, structure))


class Follower(Recorder):
    """A recorder that expects the operations of a route and keeps the values that it asks for."""

    def __init__(self, route: Route, inputs: list[Tensor]) -> None:
        super().__init__()
        self.route, self.position = route, 0
        self.channels_last = route.channels_last
        self.expected = route.recording.operations
        self.values = [None] * len(route.recording.values)
        self.watched: dict[int, weakref.ref[Tensor]] = {}
        for tensor, value in zip(inputs, route.recording.input_values, strict=True):
            if value is not None:
                self.adopt(tensor, value)
        self.held = inputs  # so that their identities stay theirs

    @property
    def finished(self) -> bool:
        """Whether everything that was expected has happened."""
        return self.position == len(self.expected)

    def adopt(self, tensor: Tensor, value: Value) -> None:
        """A tensor turns out to be an expected value."""
        key = id(tensor)
        self.known[key] = value
        if value.index in self.route.keeps:
            self.values[value.index] = tensor
        elif key not in self.watched:
            self.watched[key] = weakref.ref(tensor, lambda _: self._lose(key))

    def _lose(self, key: int) -> None:
        self.known.pop(key, None)
        self.watched.pop(key, None)

    def forget(self) -> None:
        """Nothing is watched any more."""
        self.watched.clear()

    def note(self, func: Any, args: Any, kwargs: Any, result: Any, known: list[Value]) -> None:
        if func in SHAPE_ONLY or (func is aten.fill.Tensor and id(args[1]) not in self.known):
            return
        if func in SCALAR_READS:
            raise Departed
        outputs = leaves((result,))
        continuous = any(is_continuous(value.dtype) for value in known)
        if not any(self._is_tracked(leaf, func, continuous) for leaf in outputs):
            return
        operation = self._match(func, args, kwargs)
        for leaf, value in zip(outputs, operation.outputs, strict=True):
            if value is not None:
                if leaf.shape != value.shape or leaf.dtype != value.dtype:
                    raise Departed
                self.adopt(leaf, value)

    def _match(self, func: Any, args: Any, kwargs: Any) -> Operation:
        """The expected operation, which this must be."""
        if self.finished:
            raise Departed
        operation = self.expected[self.position]
        if operation.target is not func or kwargs.keys() != operation.kwargs.keys():
            raise Departed
        named = [(kwargs[key], wanted) for key, wanted in operation.kwargs.items()]
        if not self._are_same(args, operation.args) or not all(self._is_same(*p) for p in named):
            raise Departed
        self.position += 1
        return operation

    def _are_same(self, found: Any, wanted: Any) -> bool:
        return len(found) == len(wanted) and all(map(self._is_same, found, wanted))

    def _is_same(self, found: Any, wanted: Any) -> bool:
        if isinstance(wanted, Value):
            return self.known.get(id(found)) is wanted
        if found is wanted:
            return True
        if isinstance(wanted, Tensor):
            return isinstance(found, Tensor) and _equal(found, wanted)
        if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
            return self._are_same(found, wanted)
        return type(found) is type(wanted) and bool(found == wanted)

    def _change(self, func: Any, target: Tensor, args: Any, kwargs: dict[str, Any]) -> Any:
        """A value is changed in place, as it was on the route; what is read later is kept."""
        value, pure = self.known[id(target)], pure_form(func)
        views = traits(func).views_in_place
        shared = value.index in self.route.shared and not views
        if pure is None or pure in DECOMPOSED or shared:
            raise Departed
        operation = self._match(pure, args, kwargs)
        if value.index in self.route.keeps:
            self.values[value.index] = target.detach() if views else target.detach().clone()
        func(*args, **kwargs)
        self.adopt(target, operation.output)
        return target

    def _fill(self, func: Any, target: Tensor, args: Any) -> Tensor:
        raise Departed


def _equal(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype or one.device != two.device:
        return False
    in_place = one.data_ptr() == two.data_ptr() and one.stride() == two.stride()
    return in_place or torch.equal(one, two)
