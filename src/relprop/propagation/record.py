"""Record: run the model once and note every operation whose result depends on the inputs.

The run goes through `torch.func.functionalize`, which makes in-place code pure, under a dispatch mode
that sees the ATen operations and a function mode that keeps some composite functions whole. The
model itself is not changed: what it writes during the run is put back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import InvalidInput, RelpropError, UnsupportedOperation
from .checks import check_inputs, check_mode, select_output
from .operations.registry import is_whole, overloads
from .recording import Operation, Recording, Value, leaves, replace_leaves

aten = torch.ops.aten
READS = {torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}
SCALAR_READS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
SHAPE_ONLY = set(
    overloads(
        *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "zero"),
        *("new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided", "fill.Scalar"),
    )
)
RANDOMISED = set(overloads("rrelu_with_noise", "rrelu_with_noise_functional", "rrelu"))
EMBEDDINGS = {aten.embedding.default}
DECOMPOSED: dict[Any, Callable[..., Tensor]] = {
    aten.addcmul.default: lambda x, a, b, value=1: x + (a * b) * value,
    aten.addcdiv.default: lambda x, a, b, value=1: x + (a / b) * value,
    aten.lerp.Tensor: lambda x, y, weight: x + (y - x) * weight,
}
HOOK_LOCK = threading.Lock()


class Recorder(TorchDispatchMode):
    """The dispatch mode: notes operations on tracked tensors, by the identity of the tensors."""

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
        self.overwritten: dict[int, tuple[Tensor, Tensor]] = {}
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
        """The value behind a tensor that the model holds (functionalize wraps what the mode sees)."""
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
        if self.probing:
            self.probed = args[0]
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            early = self._mutate(func, args)
            if early is not None:
                return early
        if self.suspended:
            return func(*args, **kwargs)
        if self.tracks_parameters:
            self._track_parameters(args)
        depends = any(isinstance(a, Tensor) and id(a) in self.known for a in leaves((args, kwargs)))
        self._refuse_dropout(func, args, depends)
        if depends and func in DECOMPOSED:
            with self:
                return DECOMPOSED[func](*args, **kwargs)
        result = func(*args, **kwargs)
        if depends:
            self.note(func, args, kwargs, result)
        return result

    def _refuse_dropout(self, func: Any, args: Any, depends: bool) -> None:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return
        in_use = not (func in RANDOMISED and args[4:5] in ((), (False,)))
        if in_use and (depends or "bernoulli" in str(func)):
            raise InvalidInput(
                f"{func} in {self.module or 'the model'} draws random numbers: dropout is active; call "
                "model.eval(), or pass training=False to functional dropout"
            )

    def note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Append one operation; results that carry no relevance are not tracked."""
        if func in SHAPE_ONLY or (func is aten.fill.Tensor and id(args[1]) not in self.known):
            return
        if func in SCALAR_READS:
            self.reads.append(f"{func} in {self.module or 'the model'}")
            return
        tracked = [self.known[id(t)] for t in leaves((args, kwargs)) if id(t) in self.known]
        continuous = any(_is_continuous(value.dtype) for value in tracked)
        args, kwargs = replace_leaves(
            (args, kwargs), lambda leaf: self._value_of(leaf, continuous and func not in EMBEDDINGS)
        )
        outputs = tuple(
            self.track(leaf) if self._is_tracked(leaf, func, continuous) else None
            for leaf in leaves((result,))
        )
        if any(value is not None for value in outputs):
            operation = Operation(len(self.operations), func, args, kwargs, outputs, self.module)
            self.operations.append(operation)

    def _is_tracked(self, leaf: Any, func: Any, continuous: bool) -> bool:
        if not isinstance(leaf, Tensor) or id(leaf) in self.known:
            return False
        if _is_continuous(leaf.dtype):
            return continuous or func in EMBEDDINGS
        return not continuous

    def _value_of(self, leaf: Any, continuous: bool) -> Any:
        """The value of a tracked tensor; integers and masks among floats are constants."""
        value = self.known.get(id(leaf)) if isinstance(leaf, Tensor) else None
        if value is None or (continuous and not _is_continuous(value.dtype)):
            return leaf
        return value

    def _mutate(self, func: Any, args: Any) -> Any:
        """What functionalisation leaves as a mutation: metadata, the model's own buffers, or refused."""
        written = [
            args[i]
            for i, argument in enumerate(func._schema.arguments)
            if i < len(args) and argument.alias_info is not None and argument.alias_info.is_write
        ]
        for target in written:
            if id(target) in self.known:
                return self._change(func, target, args)
            if not self.suspended and id(target) not in self.overwritten:
                self.overwritten[id(target)] = (target, target.detach().clone())
        dependent = any(isinstance(a, Tensor) and id(a) in self.known for a in args[1:])
        if dependent and not self.suspended and written and written[0] is args[0]:
            return self._fill(func, args[0], args)
        return None

    def _change(self, func: Any, target: Tensor, args: Any) -> Any:
        """A mutation of a value that was recorded: its metadata, an input at the end, or refused."""
        value = self.known[id(target)]
        if func is aten.as_strided_.default and not self.suspended:
            before = self.values[value.index] = target.detach()
            self.known[id(before)] = self.known.pop(id(target))
            func(*args)
            self.note(aten.as_strided.default, (before, *args[1:]), {}, target)
            return target
        if func is aten.copy_.default and value.index < self.inputs and self.functional:
            return target  # functionalize hands changes of the inputs back; ours are copies
        raise UnsupportedOperation(
            f"{func} in {self.module or 'the model'} changes a value in place that was already "
            "read, and functionalisation could not make it pure; write it out of place"
        )

    def _fill(self, func: Any, target: Tensor, args: Any) -> Tensor:
        """A result copied over a whole tensor of the model (a cache): followed, and put back later."""
        whole = target.untyped_storage().nbytes() == target.numel() * target.element_size()
        if func is not aten.copy_.default or not whole:
            raise UnsupportedOperation(
                f"{func} in {self.module or 'the model'} writes a result into a tensor that the "
                "recording does not follow; write it out of place (with torch.cat or torch.where)"
            )
        func(*args)
        kept = target.detach().clone()
        self.note(aten.copy.default, args, {}, kept)
        self.known[id(target)] = self.known[id(kept)]
        return target

    def _track_parameters(self, args: Any) -> None:
        for leaf in leaves(args):
            if isinstance(leaf, Tensor) and leaf.requires_grad and id(leaf) not in self.known:
                self.parameters[self.track(leaf).index] = leaf

    def restore(self) -> None:
        """Put back what the model wrote into its own tensors."""
        for tensor, before in self.overwritten.values():
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
        if self.recorder.suspended or not is_whole(func, args, kwargs):
            return func(*args, **kwargs)
        return self._whole(func, args, kwargs)

    def _read(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Data leave the recording: taken from the tensor behind functionalize's wrapper, which has none."""
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
        if any(
            isinstance(a, Tensor) and id(a) in recorder.known
            for a in leaves((args_seen, kwargs_seen))
        ):
            outputs = replace_leaves(result, self._inner)
            recorder.note(func, args_seen, kwargs_seen, outputs)
        return result

    def _inner(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or isinstance(leaf, nn.Parameter):
            return leaf
        self.recorder.probe(leaf)
        return leaf if self.recorder.probed is None else self.recorder.probed


def run(
    model: Callable[..., Any],
    inputs: Any,
    *,
    layers: tuple[str, ...] | None = None,
    tracks_parameters: bool = False,
) -> tuple[Recorder, Recording]:
    """Run the model once under a recorder; `layers` are the modules whose outputs are noted (None: all)."""
    flat, structure = pytree.tree_flatten(inputs)
    tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
    recorder = Recorder(tracks_parameters)
    names = _module_names(model)

    def call(forward: Callable[..., Any], *arguments: Tensor) -> Tensor:
        entries = iter(arguments)
        rebuilt = pytree.tree_unflatten(
            [next(entries) if isinstance(leaf, Tensor) else leaf for leaf in flat], structure
        )
        return select_output(_call(forward, rebuilt))

    copies = [tensor.detach().clone() for tensor in tensors]
    input_values = [recorder.track(copy) for copy in copies]
    recorder.inputs = len(copies)
    with _unchanged(model, recorder), _named(names, recorder, layers):
        output = _execute(model, call, copies, recorder)
    output_value = recorder.known.get(id(output))
    if output_value is None:
        raise InvalidInput(
            "the output does not depend on the inputs: nothing that the model computed from them "
            "reached what it returned (integer inputs must go through an embedding)"
        )
    recording = Recording(
        operations=recorder.operations,
        values=recorder.values,
        input_values=list(input_values),
        output_value=output_value,
        module_outputs=recorder.runs,
        structure=(flat, structure),
        input_tensors=tensors,
        notes=tuple(f"the model read a value: {read}" for read in recorder.reads),
        preprocessing=getattr(model, "preprocessing", None),
        module_names=tuple(names.values()),
    )
    return recorder, recording


def record(
    model: Callable[..., Any],
    inputs: Any,
    *,
    layers: tuple[str, ...] | None = None,
    differentiable: bool = False,
) -> Recording:
    """Run `model` on `inputs` and keep every operation and value.

    `inputs`: a tensor `[N, ...]`, a tuple (`model(*inputs)`) or a dict (`model(**inputs)`) of such.
    Raises InvalidInput (training mode, NaN, an output that is no tensor or does not depend on the
    inputs), UnsupportedOperation (a mutation or a read of values that cannot be followed).
    """
    check_mode(model)
    check_inputs(inputs)
    recorder, recording = run(model, inputs, layers=layers, tracks_parameters=differentiable)
    if recorder.reads:
        _check_reads(model, inputs, recorder, recording)
    if differentiable:
        from .replay import replay

        recording = replay(recording, recorder.parameters)
    _check_finite(recording)
    return recording


def _execute(
    model: Any, call: Callable[..., Tensor], copies: list[Tensor], recorder: Recorder
) -> Tensor:
    try:
        with torch.inference_mode(False), torch.no_grad(), WholeFunctions(recorder), recorder:
            try:
                return _pure(lambda *arguments: call(model, *arguments), *copies)
            except RuntimeError as error:
                message = str(error)
                if "functorch" not in message and "functionaliz" not in message:
                    raise
            # What functionalize refuses: a result written into a buffer, and a custom autograd.Function.
            writes = "mutating a non-functional tensor" in message and isinstance(model, nn.Module)
            _start_again(recorder, copies, functional=writes)
            if writes:
                held = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
                return _pure(
                    lambda *arguments: call(_with_buffers(model, arguments[-1]), *arguments[:-1]),
                    *copies,
                    held,
                )
            return call(model, *copies)
    except RelpropError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
        shapes = ", ".join(str(tuple(copy.shape)) for copy in copies)
        where = f" in module {recorder.module!r}" if recorder.module else ""
        raise InvalidInput(
            f"the model failed{where} on inputs of shape {shapes}: {type(error).__name__}: {error}"
        ) from error


def _pure(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    return torch.func.functionalize(function, remove="mutations")(*arguments)


def _with_buffers(model: nn.Module, buffers: dict[str, Tensor]) -> Callable[..., Any]:
    """The model with other buffers, so that what it writes into them is followed too."""
    return lambda *args, **kwargs: torch.func.functional_call(model, buffers, args, kwargs)


def _start_again(recorder: Recorder, copies: list[Tensor], *, functional: bool) -> None:
    recorder.functional = functional
    recorder.operations.clear()
    recorder.modules.clear()
    recorder.runs.clear()
    recorder.reads.clear()
    recorder.suspended = False
    del recorder.values[len(copies) :]
    recorder.known = {id(copy): recorder.known[id(copy)] for copy in copies}


def _call(model: Callable[..., Any], inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def _module_names(model: Any) -> dict[nn.Module, str]:
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        return {}  # a scripted module runs without the hooks of its parts
    return {module: name for name, module in model.named_modules() if name}


@contextmanager
def _named(
    names: dict[nn.Module, str], recorder: Recorder, layers: tuple[str, ...] | None
) -> Iterator[None]:
    """Forward hooks that tell which module runs; they act on this thread only and are taken off."""
    owner = threading.get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == owner:
            recorder.modules.append(names[module])

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != owner:
            return
        name = recorder.modules.pop()
        if recorder.suspended or (layers is not None and name not in layers):
            return
        found = [
            recorder.probe(leaf) for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)
        ]
        values = [value for value in found if value is not None and _is_continuous(value.dtype)]
        if values:
            recorder.runs.setdefault(name, []).append(values[-1])

    with HOOK_LOCK:
        handles = [
            handle
            for module in names
            for handle in (
                module.register_forward_pre_hook(enter, prepend=True),
                module.register_forward_hook(leave),
            )
        ]
    try:
        yield
    finally:
        with HOOK_LOCK:
            for handle in handles:
                handle.remove()


@contextmanager
def _unchanged(model: Any, recorder: Recorder) -> Iterator[None]:
    """Buffers, attributes and random state are afterwards what they were before."""
    scripted = isinstance(model, torch.jit.ScriptModule)
    modules = list(model.modules()) if isinstance(model, nn.Module) and not scripted else []
    attributes = [dict(module.__dict__) for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    random_state = torch.get_rng_state()
    try:
        yield
    finally:
        recorder.restore()
        torch.set_rng_state(random_state)
        for module, before, entries in zip(modules, attributes, buffers, strict=True):
            _put_back(module.__dict__, before)
            _put_back(module._buffers, entries)


def _put_back(present: dict[str, Any], before: dict[str, Any]) -> None:
    for key in [key for key in present if key not in before]:
        del present[key]
    for key, item in before.items():
        if present.get(key, present) is not item:
            present[key] = item


def _check_reads(model: Any, inputs: Any, recorder: Recorder, recording: Recording) -> None:
    """A value that was read out (`.item()`) may steer the run, but must not re-enter it.

    The run is repeated with inputs changed a little: what stays constant in the graph must stay the
    same.
    """
    moved = pytree.tree_map(_nudge, inputs)
    _, second = run(model, moved, layers=())
    same = len(second.operations) == len(recording.operations) and all(
        first.target == other.target and _same_constants(first, other)
        for first, other in zip(recording.operations, second.operations, strict=True)
    )
    if not same:
        raise UnsupportedOperation(
            f"a value that depends on the inputs was read out ({recorder.reads[0]}) and its result "
            "re-enters the computation, so its relevance would be lost; keep it a tensor "
            "(no .item(), .tolist() or .numpy())"
        )


def _nudge(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and _is_continuous(leaf.dtype):
        return leaf.detach() * (1 + 2**-7)
    return leaf


def _same_constants(first: Operation, second: Operation) -> bool:
    pairs = zip(
        leaves((first.args, first.kwargs)), leaves((second.args, second.kwargs)), strict=False
    )
    return all(_same(one, other) for one, other in pairs)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if not _is_continuous(one.dtype):
            return True  # masks and indices select; they carry nothing themselves
        return one is other or (one.shape == other.shape and torch.equal(one, other))
    if isinstance(one, Value) and isinstance(other, Value):
        return one.index == other.index
    return type(one) is type(other) and bool(one == other)


def _check_finite(recording: Recording) -> None:
    if bool(torch.isfinite(recording.tensor(recording.output_value)).all()):
        return
    for operation in recording.operations:
        for value in operation.outputs:
            if value is not None and not bool(torch.isfinite(recording.tensor(value)).all()):
                raise InvalidInput(
                    f"{operation.name} in {operation.module or 'the model'} produced NaN or infinite "
                    "values from finite inputs; there is no relevance to share"
                )


def _is_continuous(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex
