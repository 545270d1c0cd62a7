"""Record: run the model once and note every operation whose result depends on the inputs.

The run goes through `torch.func.functionalize`, which makes in-place code pure, under a dispatch
mode that sees the ATen operations and a function mode that keeps some composite functions whole.
The model itself is not changed: what it writes during the run is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import InvalidInput, RelpropError
from .checks import check_inputs, check_mode, select_output
from .reads import check_reads, nudged
from .recorder import Recorder, WholeFunctions
from .recording import Recording
from .surroundings import module_names, naming, unchanged


def run(
    model: Callable[..., Any],
    inputs: Any,
    *,
    layers: tuple[str, ...] | None = None,
    tracks_parameters: bool = False,
) -> tuple[Recorder, Recording]:
    """Run the model once under a recorder; `layers`: whose outputs are noted (None: all)."""
    flat, structure = pytree.tree_flatten(inputs)
    tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
    recorder = Recorder(tracks_parameters)
    names = module_names(model)

    def call(forward: Callable[..., Any], *arguments: Tensor) -> Tensor:
        entries = iter(arguments)
        rebuilt = pytree.tree_unflatten(
            [next(entries) if isinstance(leaf, Tensor) else leaf for leaf in flat], structure
        )
        return select_output(call_model(forward, rebuilt))

    copies = [tensor.detach().clone() for tensor in tensors]
    input_values = [recorder.track(copy) for copy in copies]
    recorder.inputs = len(copies)
    with unchanged(model, recorder), naming(names, recorder, layers):
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
        notes=(*(f"the model read a value: {read}" for read in recorder.reads), *recorder.notes),
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
        _, again = run(model, nudged(inputs), layers=())
        check_reads(recorder.reads, recording, again)
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
                message = str(error).lower()
                if "functorch" not in message and "functionaliz" not in message:
                    raise
            # What functionalize refuses: a result written into a buffer, and a custom
            # autograd.Function.
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
    except Exception as error:
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
    recorder.notes.clear()
    recorder.suspended = False
    del recorder.values[len(copies) :]
    recorder.known = {id(copy): recorder.known[id(copy)] for copy in copies}


def call_model(model: Callable[..., Any], inputs: Any) -> Any:
    """`model(inputs)`, with a tuple or a dict taken apart."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def _check_finite(recording: Recording) -> None:
    if bool(torch.isfinite(recording.tensor(recording.output_value)).all()):
        return
    for operation in recording.operations:
        for value in operation.outputs:
            if value is not None and not bool(torch.isfinite(recording.tensor(value)).all()):
                raise InvalidInput(
                    f"{operation.name} in {operation.module or 'the model'} produced NaN or "
                    "infinite "
                    "values from finite inputs; there is no relevance to share"
                )
