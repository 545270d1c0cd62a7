"""Gradients of the model as it is, at the cost of one gradient; of its recording where it must be.

A recording is needed where a softmax that ends the model is hidden (behind a reshape, in a
checkpoint), where the model runs without gradients or overwrites what autograd needs, and for token
ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import RelpropError
from ..propagation.checks import check_batch, check_inputs, check_mode, select_output
from ..propagation.record import call_model, record
from ..propagation.recorder import Recorder
from ..propagation.recording import Value
from ..propagation.surroundings import unchanged
from .objective import Ask, Pass, gradients_at
from .replayed import left_out, replayed_pass

ENDINGS = {  # names of nodes, and of the operations that they belong to
    "Softmax": "aten._softmax.default",
    "LogSoftmax": "aten._log_softmax.default",
    "SafeSoftmax": "aten._safe_softmax.default",
    "Sigmoid": "aten.sigmoid.default",
    "LogSigmoid": "aten.log_sigmoid_forward.default",
}
FUNCTIONS = {"softmax", "log_softmax", "sigmoid", "logsigmoid", "special_expit"}
LAYERS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Linear", "MkldnnLinear", "Convolution")


class Differentiator:
    """Gradients of one model with respect to its inputs, for as many inputs as wanted.

    With `tokens`, token ids get the gradient of their embedding. Raises InvalidInput for a model
    in training mode.
    """

    def __init__(self, model: Any, *, tokens: bool = False) -> None:
        check_mode(model)
        self.model, self.tokens = model, tokens
        self._records = False

    def __call__(self, inputs: Any, ask: Ask) -> Pass:
        """Run the model on `inputs` and differentiate what `ask` wants of its output.

        Raises InvalidInput, InvalidTarget, UnsupportedOperation.
        """
        check_inputs(inputs)
        if not self._records:
            found = self._plain(inputs, ask)
            if found is not None:
                return found
            self._records = True
        recording = record(self.model, inputs, layers=())
        return replayed_pass(recording, ask, tokens=self.tokens)

    def _plain(self, inputs: Any, ask: Ask) -> Pass | None:
        """None where a recording is needed, or says better what is wrong."""
        flat, structure = pytree.tree_flatten(inputs)
        tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
        if any(not t.is_floating_point() and t.dtype != torch.bool for t in tensors):
            return None
        with torch.inference_mode(False), torch.enable_grad(), _untouched(self.model, tensors):
            points = [_point(tensor) for tensor in tensors]
            copies = iter(
                (tensor if point is None else point).clone()  # the model may write into them
                for tensor, point in zip(tensors, points, strict=True)
            )
            given = [next(copies) if isinstance(leaf, Tensor) else leaf for leaf in flat]
            state = _random_state(tensors)
            try:
                return self._run(pytree.tree_unflatten(given, structure), points, state, ask)
            except (RelpropError, torch.OutOfMemoryError):
                raise
            except Exception:  # noqa: BLE001 - the recording can do more, or says what is wrong
                return None

    def _run(
        self, given: Any, points: list[Tensor | None], state: list[Tensor], ask: Ask
    ) -> Pass | None:
        with LastEnding() as last:
            said = select_output(call_model(self.model, given))
        present = [point for point in points if point is not None]
        drawn = zip(state, _random_state(present), strict=True)
        if any(not torch.equal(before, after) for before, after in drawn):
            return None
        output = last.before(said)
        if not said.requires_grad or (output is said and _may_end_in_softmax(said)):
            return None
        if not bool(torch.isfinite(output).all()):
            return None
        check_batch(Value(0, output.shape, output.dtype), present)
        start = ask(output.detach(), said.detach())
        gradients = gradients_at(output, points, start.weights)
        for found in gradients:
            if any(p is not None and g is None for p, g in zip(points, found, strict=True)):
                return None
        notes = () if output is said else (left_out(ENDINGS[_kind(said.grad_fn)]),)
        return Pass(output.detach(), start, points, gradients, notes)


class LastEnding(TorchFunctionMode):
    """Remembers what went into the softmax or sigmoid that ran last."""

    def __init__(self) -> None:
        super().__init__()
        self.given: Tensor | None = None
        self.node: Any = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in FUNCTIONS and isinstance(result, Tensor):
            self.node, self.given = result.grad_fn, args[0] if args else None
        return result

    def before(self, output: Tensor) -> Tensor:
        """The output without its ending, if that is what made it; otherwise the output itself."""
        node, given = output.grad_fn, self.given
        ends = node is not None and node is self.node and _kind(node) in ENDINGS
        if not ends or not isinstance(given, Tensor) or given.shape != output.shape:
            return output
        assert node is not None
        return given if node.next_functions[0][0] is given.grad_fn else output


def _kind(node: Any) -> str:
    """What a node of the graph is the backward pass of."""
    return str(node.name()).partition("Backward")[0]


def _point(tensor: Tensor) -> Tensor | None:
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else None


def _may_end_in_softmax(output: Tensor) -> bool:
    """Whether a softmax or sigmoid stands between the output and the last layer, or what stands
    there can't be seen.
    """
    node = output.grad_fn
    while node is not None:
        name = _kind(node)
        hidden = isinstance(node, torch._C._FunctionBase) or "jit" in name
        if hidden or name in ENDINGS:
            return True
        before = [parent for parent, _ in node.next_functions if parent is not None]
        if name in LAYERS or len(before) != 1:
            return False
        node = before[0]
    return False


def _devices(tensors: list[Tensor]) -> list[torch.device]:
    return list({tensor.device for tensor in tensors if tensor.device.type == "cuda"})


def _random_state(tensors: list[Tensor]) -> list[Tensor]:
    """Of the generators that the model may draw from: it must not (dropout)."""
    states = [torch.cuda.get_rng_state(device) for device in _devices(tensors)]
    return [torch.get_rng_state(), *states]


@contextmanager
def _untouched(model: Any, tensors: list[Tensor]) -> Iterator[None]:
    """Buffers, attributes and random states are afterwards what they were before."""
    before = [(held, _version(held), held.detach().clone()) for held in _writable(model)]
    with torch.random.fork_rng(_devices(tensors)), unchanged(model, Recorder()):
        try:
            yield
        finally:
            with torch.no_grad():
                for held, version, content in before:
                    if version is None or _version(held) != version:
                        held.copy_(content)


def _writable(model: Any) -> list[Tensor]:
    """What a model may write when it runs: its buffers, and embeddings that renormalise."""
    if not isinstance(model, nn.Module):
        return []
    embeddings = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    weights = [module.weight for module in embeddings if module.max_norm is not None]
    return [*model.buffers(), *weights]


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to; None where nobody counts."""
    return None if tensor.is_inference() else tensor._version
