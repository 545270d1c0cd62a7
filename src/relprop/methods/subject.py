"""The subject of a method: a model, the inputs, and the outputs that are explained.

For methods that run the model again and again on changed inputs. As in LRP, outputs are those
before a softmax or sigmoid that ends the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import InvalidInput
from ..propagation.checks import check_batch, select_output
from ..propagation.record import call_model, record
from ..propagation.recorder import Recorder
from ..propagation.recording import Recording
from ..propagation.route import find_ending
from ..propagation.surroundings import unchanged
from ..propagation.targets import Start
from ..result import Explanation
from .objective import Pass, asking, explanation_of
from .plain import Differentiator
from .replayed import notes_on

ENDINGS = {
    *("softmax", "log_softmax", "sigmoid", "sigmoid_", "special_softmax", "special_log_softmax"),
    *("special_expit", "logsigmoid", "log_sigmoid", "_softmax", "_log_softmax", "_safe_softmax"),
}
Maps = Callable[["Subject", Tensor], Sequence[Tensor]]


class Subject:
    """A model that can be asked for the scores of changed inputs, and what is explained of it.

    `tensors` are all tensors among the inputs, `floats` those that hold real numbers; `start` has
    the weights of the explained outputs; `notes` go into the explanation.
    """

    def __init__(self, model: Callable[..., Any], inputs: Any, target: Any, class_axis: int):
        recording = record(model, inputs, layers=())
        check_batch(recording.output_value, recording.input_tensors)
        self.model, self.class_axis = model, class_axis
        self.flat, self.structure = recording.structure
        self.tensors = [tensor.detach().clone() for tensor in recording.input_tensors]
        self.notes = list(notes_on(recording, find_ending(recording)))
        self.output = recording.output.detach().clone()
        said = recording.tensor(recording.output_value)
        self.start = asking(target, class_axis)(self.output, said)
        self._differentiate = Differentiator(model)
        self._left_out = self._find_ending(recording)

    @property
    def floats(self) -> list[Tensor]:
        """The inputs that are explained."""
        return [tensor for tensor in self.tensors if tensor.is_floating_point()]

    def scores(self, tensors: Sequence[Tensor]) -> Tensor:
        """`[M, ...]`: the output before a final softmax, for inputs of any number of samples.

        `tensors`: one for each of `self.tensors`, or only for those that hold real numbers. Where
        gradients are on, autograd follows.
        """
        rebuilt = self._inputs([tensor.clone() for tensor in tensors])  # it may write into them
        if self._left_out is None:
            return select_output(call_model(self.model, rebuilt))
        with _Endings(self._left_out):
            return select_output(call_model(self.model, rebuilt))

    def score(self, tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
        """`[M]`: the explained outputs, weighted and summed."""
        return (self.scores(tensors) * weights).reshape(weights.shape[0], -1).sum(1)

    def gradient(self, floats: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The score `[M]` and its gradient with respect to each of `floats`."""
        run = self._differentiate(self._inputs(floats), lambda *_: Start([weights], None, True))
        score = (run.output * weights).reshape(weights.shape[0], -1).sum(1)
        return score, [found.detach() for found in run.gradients[0] if found is not None]

    def explanation(
        self, maps: Sequence[Sequence[Tensor]], *, method: str, pooling: str = "sum"
    ) -> Explanation:
        """Made of one map for each explained output and each of `floats`."""
        notes = tuple(dict.fromkeys(self.notes))
        run = Pass(self.output, self.start, [], [], notes)
        inputs = pytree.tree_unflatten(self.flat, self.structure)
        return explanation_of(method, inputs, run, [self._beside(m) for m in maps], pooling=pooling)

    def _inputs(self, tensors: Sequence[Tensor]) -> Any:
        """The structure of the inputs with other tensors in it."""
        given = iter(tensors)
        if len(tensors) != len(self.tensors):
            tensors = [next(given) if t.is_floating_point() else t for t in self.tensors]
            given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self.flat]
        return pytree.tree_unflatten(leaves, self.structure)

    def _beside(self, maps: Sequence[Tensor]) -> list[Tensor | None]:
        """The maps, and None for the inputs that are not real numbers."""
        given = iter(maps)
        return [next(given) if t.is_floating_point() else None for t in self.tensors]

    def _find_ending(self, recording: Recording) -> int | None:
        """Which of the softmaxes and sigmoids of a run ends the model."""
        ending = find_ending(recording).operation
        if ending is None:
            return None
        self._left_out = None
        with _Endings(None) as seen:
            output = self.scores(self.tensors).flatten()
        for number, result in reversed(list(enumerate(seen.results))):
            if result.numel() == output.numel() and torch.equal(result.to(output), output):
                return number
        raise InvalidInput(
            f"{ending.name} ends the model and cannot be left out from outside: pass a model that "
            "returns what stands before it"
        )


class _Endings(TorchFunctionMode):
    """Notes the results of softmaxes and sigmoids, or leaves one of them out."""

    def __init__(self, left_out: int | None):
        super().__init__()
        self.left_out, self.count = left_out, 0
        self.results: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in ENDINGS:
            return func(*args, **kwargs)
        self.count += 1
        if self.left_out is not None:
            skips = self.count == self.left_out + 1
            return (args[0] if args else kwargs["input"]) if skips else func(*args, **kwargs)
        result = func(*args, **kwargs)
        self.results.append(result.detach().flatten())
        return result


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Without gradients, and with the model and the random state afterwards as they were."""
    buffers = list(model.buffers()) if isinstance(model, nn.Module) else []
    before = [buffer.detach().clone() for buffer in buffers]
    with torch.inference_mode(False), torch.no_grad(), unchanged(model, Recorder()):
        try:
            yield
        finally:
            for buffer, content in zip(buffers, before, strict=True):
                if not torch.equal(buffer, content):
                    buffer.copy_(content)


def explained(
    model: Any,
    inputs: Any,
    target: Any,
    class_axis: int,
    maps: Maps,
    *,
    method: str,
    pooling: str = "sum",
) -> Explanation:
    """Explain by `maps(subject, weights)`: one map for each of `subject.floats`.

    `weights`, shaped like the output, choose what is explained; they are asked for once for each
    target. Raises as `relprop.explain`, and InvalidInput where no input holds real numbers.
    """
    with undisturbed(model):
        subject = Subject(model, inputs, target, class_axis)
        if not subject.floats:
            raise InvalidInput(f"method {method!r} changes real-valued inputs, and there are none")
        found = [maps(subject, weights) for weights in subject.start.weights]
        return subject.explanation(found, method=method, pooling=pooling)


def image_of(subject: Subject, method: str) -> Tensor:
    """The only input, where it is a batch of images `[N, C, H, W]`. Raises InvalidInput."""
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in subject.tensors)
    if len(subject.tensors) != 1 or subject.floats[0].ndim != 4:
        raise InvalidInput(f"method {method!r} takes images [N, C, H, W], got inputs of {shapes}")
    return subject.floats[0]
