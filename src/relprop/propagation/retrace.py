"""Retrace: run a model again along a known route, checking every operation, keeping only what is
needed.

The model itself runs, so nothing that it does differently goes unnoticed: an operation, an
argument, a constant or a shape that is not the expected one ends the attempt, and the run is
recorded in full instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import RelpropError
from .checks import check_inputs, check_mode, select_output
from .doubts import holds
from .operations.registry import overloads
from .record import call_model
from .recorder import Recorder, WholeFunctions
from .recording import Operation, Recording, Value, is_continuous, leaves
from .route import CONVOLUTION, Route
from .surroundings import unchanged
from .traits import DECOMPOSED, SCALAR_READS, SHAPE_ONLY, pure_form, traits

aten = torch.ops.aten


COPYING_VIEWS = set(overloads("_unsafe_view", "_reshape_alias"))


PLAIN = {int, float, bool, type(None)}  # what lists of sizes, strides and flags hold


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
    copies = [_copied(tensor, channels_last=route.channels_last) for tensor in tensors]
    follower = Follower(route, copies)
    entries = iter(copies)
    rebuilt = pytree.tree_unflatten(
        [next(entries) if isinstance(leaf, Tensor) else leaf for leaf in flat], structure
    )
    try:
        with unchanged(model, follower), torch.inference_mode(False), torch.no_grad():
            whole = WholeFunctions(follower) if route.composes else nullcontext()
            with whole, follower:
                output = select_output(call_model(model, rebuilt))
            arrived = follower.finished and follower.known.get(id(output))
    except Departed:
        return None
    except RelpropError:
        raise
    except Exception:  # noqa: BLE001 - recording in full will meet it again, and name the place
        return None
    finally:
        follower.forget()
    if arrived is not route.recording.output_value or not holds(torch.isfinite(output).all()):
        return None
    return route.again(
        follower.values,
        input_tensors=tensors,
        structure=(flat, structure),
        preprocessing=getattr(model, "preprocessing", None),
    )


def _copied(tensor: Tensor, *, channels_last: bool) -> Tensor:
    images = channels_last and tensor.ndim == 4 and tensor.dtype == torch.float32
    order = torch.channels_last if images else torch.contiguous_format
    return tensor.detach().clone(memory_format=order)


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
        self.left = False

    @property
    def finished(self) -> bool:
        """Whether everything that was expected has happened."""
        return self.position == len(self.expected) and not self.left

    def departed(self) -> Departed:
        """The end of the attempt, even if the model goes on regardless."""
        self.left = True
        return Departed()

    def adopt(self, tensor: Tensor, value: Value) -> None:
        """A tensor turns out to be an expected value."""
        if value.index in self.route.keeps:
            self.values[value.index] = tensor
        self.recognise(tensor, value)

    def recognise(self, tensor: Tensor, value: Value) -> None:
        """A tensor stands for a value as long as it lives."""
        key = id(tensor)
        self.known[key] = value
        self.watched[key] = weakref.ref(tensor, partial(self._lose, key))

    def _lose(self, key: int, watch: weakref.ref[Tensor]) -> None:
        """A tensor is gone, and its identity may become another's."""
        if self.watched.get(key) is watch:
            del self.watched[key], self.known[key]

    def forget(self) -> None:
        """Nothing is watched any more."""
        self.watched.clear()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._expects(func) and self._agrees(self.expected[self.position], args, kwargs):
            operation = self.expected[self.position]
            self.position += 1
            result = self.run(func, args, kwargs)
            self._arrive(result, operation)
            return result
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _expects(self, func: Any) -> bool:
        """Whether this is the operation that comes next, one that changes nothing in place."""
        if self.left or self.suspended or self.position == len(self.expected):
            return False
        return self.expected[self.position].target is func and self.route.pure[self.position]

    def note(self, func: Any, args: Any, kwargs: Any, result: Any, known: list[Value]) -> None:
        if func in SHAPE_ONLY or (func is aten.fill.Tensor and id(args[1]) not in self.known):
            return
        if func in SCALAR_READS:
            raise self.departed()
        if self.channels_last and self._only_copies(func, args, kwargs):
            self.recognise(result, known[0])
            return
        outputs = leaves((result,))
        continuous = any(is_continuous(value.dtype) for value in known)
        if not any(self._is_tracked(leaf, func, continuous) for leaf in outputs):
            return
        self._arrive(result, self._match(func, args, kwargs))

    def _arrive(self, result: Any, operation: Operation) -> None:
        """The results of an operation turn out to be the expected values."""
        outputs = (result,) if isinstance(result, Tensor) else leaves((result,))
        for leaf, value in zip(outputs, operation.outputs, strict=True):
            if value is not None:
                if leaf.shape != value.shape or leaf.dtype != value.dtype:
                    raise self.departed()
                self.adopt(leaf, value)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation itself; what is a view of usual memory is a copy of channels last, and
        convolutions read weights that are kept in this order.
        """
        if self.channels_last and func is aten.view.default:
            return func(args[0].contiguous(), *args[1:])
        if self.channels_last and func is CONVOLUTION and id(args[1]) in self.route.kernels:
            weight = self.route.kernels[id(args[1])]
            if not weight.has_moved:
                kernel = weight.live(args[1].dtype, channels_last=True)
                return func(args[0], kernel, *args[2:])
        return func(*args, **kwargs)

    def _only_copies(self, func: Any, args: Any, kwargs: Any) -> bool:
        """Whether a tensor is put in the usual order, which on the route it was in."""
        if func is not aten.clone.default or self.position == len(self.expected):
            return False
        usual = kwargs.get("memory_format") is torch.contiguous_format
        return usual and self.expected[self.position].target is not func

    def _match(self, func: Any, args: Any, kwargs: Any) -> Operation:
        """The expected operation, which this must be."""
        if self.left or self.position == len(self.expected):
            raise self.departed()
        operation = self.expected[self.position]
        target = aten.view.default if self.channels_last and func in COPYING_VIEWS else func
        if operation.target is not target or not self._agrees(operation, args, kwargs):
            raise self.departed()
        self.position += 1
        return operation

    def _agrees(self, operation: Operation, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether an operation is given what it is on the route."""
        if kwargs or operation.kwargs:
            wanted = operation.kwargs
            if kwargs.keys() != wanted.keys():
                return False
            if not self._are_same([kwargs[key] for key in wanted], list(wanted.values())):
                return False
        return self._are_same(args, operation.args)

    def _are_same(self, found: Any, wanted: Any) -> bool:
        if len(found) != len(wanted):
            return False
        if self.overwritten_at and any(map(self._is_overwritten, found)):
            return False  # the walk will see it as it was
        return all(
            one is other or self._is_same(one, other)
            for one, other in zip(found, wanted, strict=True)
        )

    def _is_overwritten(self, found: Any) -> bool:
        """Whether the model has written into a tensor of its own during this run."""
        own = isinstance(found, Tensor) and id(found) not in self.known
        return own and found.untyped_storage().data_ptr() in self.overwritten_at

    def _is_same(self, found: Any, wanted: Any) -> bool:
        if isinstance(wanted, Value):
            return self.known.get(id(found)) is wanted
        if isinstance(wanted, Tensor):
            return isinstance(found, Tensor) and _equal(found, wanted)
        if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
            if set(map(type, found)) <= PLAIN:
                return list(found) == list(wanted)
            return self._are_same(found, wanted)
        return type(found) is type(wanted) and bool(found == wanted)

    def _change(self, func: Any, target: Tensor, args: Any, kwargs: dict[str, Any]) -> Any:
        """A value is changed in place, as it was on the route; what is read later is kept."""
        if self.channels_last and func is aten.as_strided_.default and _is_still(target, args):
            func(*args, **kwargs)  # torch itself calls it to no effect
            return target
        value, pure = self.known[id(target)], pure_form(func)
        views = traits(func).views_in_place
        shared = value.index in self.route.shared and not views
        if pure is None or pure in DECOMPOSED or shared:
            raise self.departed()
        operation = self._match(pure, args, kwargs)
        if value.index not in self.route.keeps:
            func(*args, **kwargs)
        else:
            self.values[value.index] = target.detach()
            if views:
                func(*args, **kwargs)
            else:  # the tensor moves on to new memory, and what it held stays where it is
                moved = self._of_its_kind(target, pure(*args, **kwargs))
                target.set_(moved)  # type: ignore[call-overload]
        self.adopt(target, operation.output)
        return target

    def _of_its_kind(self, target: Tensor, result: Tensor) -> Tensor:
        """What can be written in place."""
        if result.shape != target.shape or result.dtype != target.dtype:
            raise self.departed()
        return result

    def _fill(self, func: Any, target: Tensor, args: Any) -> Tensor:
        raise self.departed()


def _is_still(target: Tensor, args: Any) -> bool:
    """Whether as_strided_ leaves every element where it is."""
    size, stride = args[1:3]
    same = tuple(size) == tuple(target.shape) and len(args) == 3
    axes = zip(target.shape, target.stride(), stride, strict=True) if same else ()
    return same and all(n == 1 or one == other for n, one, other in axes)


def _equal(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype or one.device != two.device:
        return False
    in_place = one.data_ptr() == two.data_ptr() and one.stride() == two.stride()
    return in_place or holds(one.eq(two).all())
