"""The two modes that watch a run: operations below, composite functions above."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import InvalidInput, UnsupportedOperation
from .operations.registry import is_whole
from .recording import Operation, Value, is_continuous, leaves, replace_leaves
from .traits import (
    DECOMPOSED,
    EMBEDDINGS,
    RANDOMISED,
    SCALAR_READS,
    SHAPE_ONLY,
    pure_form,
    traits,
)

aten = torch.ops.aten
HANDED_OUT = {torch.Tensor.share_memory_, torch.Tensor.__dlpack__}
READS = {torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recorder(TorchDispatchMode):
    """The dispatch mode: notes operations on tracked tensors, by the identity of the tensors."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped for torch.compile, whose compiler takes seconds to load."""
        return False

    def __init__(self, tracks_parameters: bool = False) -> None:
        super().__init__()
        self.tracks_parameters = tracks_parameters
        self.operations: list[Operation] = []
        self.values: list[Tensor | None] = []
        self.known: dict[int, Value] = {}
        self.parameters: dict[int, Tensor] = {}
        self.modules: list[str] = []
        self.runs: dict[str, list[Value]] = {}
        self.reads: list[str] = []
        self.notes: list[str] = []
        self.overwritten: dict[int, tuple[Tensor, Tensor]] = {}
        self.overwritten_at: set[int] = set()
        self.suspended = False
        self.probed: Tensor | None = None
        self.probing = False
        self.inputs = 0
        self.functional = True

    @property
    def module(self) -> str:
        return self.modules[-1] if self.modules else ""

    def track(self, tensor: Tensor) -> Value:
        """Give a tensor a number; it is kept, so that its identity stays its own."""
        value = Value(len(self.values), tensor.shape, tensor.dtype)
        self.values.append(tensor)
        self.known[id(tensor)] = value
        return value

    def probe(self, tensor: Tensor) -> Value | None:
        """The value behind a tensor that the model holds (functionalize wraps what the mode
        sees).
        """
        if torch._is_functional_tensor(tensor):
            torch._sync(tensor)  # writes that wait are recorded first
            inner = torch._from_functional_tensor(tensor)
            if id(inner) in self.known:
                self.probed = inner
                return self.known[id(inner)]
        self.probing, self.probed = True, None
        try:
            aten.alias.default(tensor)
        finally:
            self.probing = False
        return None if self.probed is None else self.known.get(id(self.probed))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.probing and func is aten.alias.default:
            self.probed = args[0]
            return func(*args, **kwargs)
        if traits(func).mutable:
            early = self._mutate(func, args, kwargs)
            if early is not None:
                return early
        if self.suspended:
            return func(*args, **kwargs)
        if self.tracks_parameters:
            self._track_parameters(args)
        known = self.values_among(args, kwargs)
        depends = bool(known)
        self._refuse_dropout(func, args, depends)
        if depends and func in DECOMPOSED:
            with self:
                return DECOMPOSED[func](*args, **kwargs)
        result = self.run(func, args, kwargs)
        if depends:
            self.note(func, args, kwargs, result, known)
        return result

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation itself."""
        return func(*args, **kwargs)

    def values_among(self, args: Any, kwargs: Any) -> list[Value]:
        """The known values among the arguments of an operation."""
        given = [*args, *kwargs.values()] if kwargs else args
        found = []
        for item in given:
            if isinstance(item, Tensor):
                if id(item) in self.known:
                    found.append(self.known[id(item)])
            elif isinstance(item, (list, tuple)):
                found += [self.known[id(leaf)] for leaf in leaves(item) if id(leaf) in self.known]
        return found

    def _refuse_dropout(self, func: Any, args: Any, depends: bool) -> None:
        if not traits(func).random:
            return
        if not depends:
            self.notes.append(f"{func} in {self.module or 'the model'} draws random numbers")
        in_use = not (func in RANDOMISED and args[4:5] in ((), (False,)))
        if in_use and (depends or "bernoulli" in str(func)):
            raise InvalidInput(
                f"{func} in {self.module or 'the model'} draws random numbers: dropout is "
                "active; call "
                "model.eval(), or pass training=False to functional dropout"
            )

    def note(self, func: Any, args: Any, kwargs: Any, result: Any, known: list[Value]) -> None:
        """Append one operation; results that carry no relevance are not tracked. `known` are the
        values among its arguments.
        """
        if func in SHAPE_ONLY or (func is aten.fill.Tensor and id(args[1]) not in self.known):
            return
        if func in SCALAR_READS:
            self.reads.append(f"{func} in {self.module or 'the model'}")
            return
        continuous = any(is_continuous(value.dtype) for value in known)
        floats = continuous and func not in EMBEDDINGS
        args = self._named(args, floats)
        kwargs = self._named(kwargs, floats) if kwargs else kwargs
        outputs = tuple(
            self.track(leaf) if self._is_tracked(leaf, func, continuous) else None
            for leaf in ((result,) if isinstance(result, Tensor) else leaves((result,)))
        )
        if any(value is not None for value in outputs):
            operation = Operation(len(self.operations), func, args, kwargs, outputs, self.module)
            self.operations.append(operation)

    def _is_tracked(self, leaf: Any, func: Any, continuous: bool) -> bool:
        if not isinstance(leaf, Tensor) or id(leaf) in self.known:
            return False
        if is_continuous(leaf.dtype):
            return continuous or func in EMBEDDINGS
        return not continuous

    def _named(self, given: Any, floats: bool) -> Any:
        """Arguments with values for tracked tensors; integers and masks among floats are
        constants.
        """
        if isinstance(given, Tensor):
            value = self.known.get(id(given))
            if value is not None and (not floats or is_continuous(value.dtype)):
                return value
            if value is None and self.overwritten_at and _storage(given) in self.overwritten_at:
                return given.detach().clone()  # as it is now: it will be put back
            return given
        if isinstance(given, (tuple, list)):
            items = [self._named(item, floats) for item in given]
            return items if isinstance(given, list) else tuple(items)
        if isinstance(given, dict):
            return {key: self._named(item, floats) for key, item in given.items()}
        return given

    def _mutate(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What functionalisation leaves as a mutation: metadata, the model's own buffers, or
        refused.
        """
        written = [args[i] for i in traits(func).written if i < len(args)]
        for target in written:
            if id(target) in self.known:
                return self._change(func, target, args, kwargs)
            if not self.suspended and id(target) not in self.overwritten:
                self.overwritten[id(target)] = (target, target.detach().clone())
                self.overwritten_at.add(_storage(target))
        dependent = any(isinstance(a, Tensor) and id(a) in self.known for a in args[1:])
        if dependent and not self.suspended and written and written[0] is args[0]:
            return self._fill(func, args[0], args)
        return None

    def _is_shared(self, target: Tensor) -> bool:
        """Whether another recorded value lies in the same memory."""
        others = (v for v in self.values if v is not None and v is not target)
        return any(_storage(value) == _storage(target) for value in others)

    def _change(self, func: Any, target: Tensor, args: Any, kwargs: dict[str, Any]) -> Any:
        """A mutation of a recorded value: noted in its pure form, or refused."""
        value = self.known[id(target)]
        if func is aten.copy_.default and value.index < self.inputs and self.functional:
            return target  # functionalize hands changes of the inputs back; ours are copies
        pure = pure_form(func)
        moves_only = traits(func).views_in_place
        if pure is not None and not self.suspended and (moves_only or not self._is_shared(target)):
            before = target.detach() if moves_only else target.detach().clone()
            self.values[value.index] = before
            self.known[id(before)] = self.known.pop(id(target))
            func(*args, **kwargs)
            args = (before, *args[1:])
            self.note(pure, args, kwargs, target, self.values_among(args, kwargs))
            return target
        raise UnsupportedOperation(
            f"{func} in {self.module or 'the model'} changes a value in place that was already "
            "read, and functionalisation could not make it pure; write it out of place"
        )

    def _fill(self, func: Any, target: Tensor, args: Any) -> Tensor:
        """A result copied over a whole tensor of the model (a cache): followed, and put back
        later.
        """
        whole = target.untyped_storage().nbytes() == target.numel() * target.element_size()
        if func is not aten.copy_.default or not whole:
            raise UnsupportedOperation(
                f"{func} in {self.module or 'the model'} writes a result into a tensor that the "
                "recording does not follow; write it out of place (with torch.cat or torch.where)"
            )
        func(*args)
        kept = target.detach().clone()
        self.note(aten.copy.default, args, {}, kept, self.values_among(args, {}))
        self.known[id(target)] = self.known[id(kept)]
        return target

    def _track_parameters(self, args: Any) -> None:
        for leaf in leaves(args):
            if isinstance(leaf, Tensor) and leaf.requires_grad and id(leaf) not in self.known:
                self.parameters[self.track(leaf).index] = leaf

    def restore(self) -> None:
        """Put back what the model wrote into its own tensors.

        The last save first: those of one memory overlap, and the earliest is right.
        """
        with torch.no_grad():
            for tensor, before in reversed(self.overwritten.values()):
                tensor.copy_(before)


class WholeFunctions(TorchFunctionMode):
    """The function mode: functions with a rule of their own become one operation."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.data.__get__:  # type: ignore[attr-defined]
            return args[0].detach()
        if func in READS:
            return self._read(func, args, kwargs)
        if func in HANDED_OUT and isinstance(args[0], Tensor):
            raise UnsupportedOperation(
                f"Tensor.{func.__name__} in {self.recorder.module or 'the model'} hands out memory "
                "of a value that is being recorded; leave it out, or take a copy after the call"
            )
        if self.recorder.suspended or not is_whole(func, args, kwargs):
            return func(*args, **kwargs)
        return self._whole(func, args, kwargs)

    def _read(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Data leave the recording: taken from the tensor behind functionalize's wrapper, which
        has none.
        """
        recorder = self.recorder
        if recorder.probe(args[0]) is not None:
            recorder.reads.append(f"Tensor.{func.__name__} in {recorder.module or 'the model'}")
        return func(recorder.probed, *args[1:], **kwargs)

    def _whole(self, func: Any, args: Any, kwargs: Any) -> Any:
        recorder = self.recorder
        args_seen, kwargs_seen = replace_leaves((args, kwargs), self._inner)
        recorder.suspended = True
        try:
            result = func(*args, **kwargs)
        finally:
            recorder.suspended = False
        known = recorder.values_among(args_seen, kwargs_seen)
        if known:
            outputs = replace_leaves(result, self._inner)
            recorder.note(func, args_seen, kwargs_seen, outputs, known)
        return result

    def _inner(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or isinstance(leaf, nn.Parameter):
            return leaf
        self.recorder.probe(leaf)
        return leaf if self.recorder.probed is None else self.recorder.probed
