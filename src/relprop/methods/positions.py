"""Where class activation maps are read: the last value with positions, and what follows it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor
from torch.nn import functional

from ..errors import InvalidInput, UnknownName, UnsupportedOperation
from ..propagation.operations.family import Family
from ..propagation.operations.follow import Follow
from ..propagation.operations.linear import Linear
from ..propagation.operations.movement import Concatenation, Move
from ..propagation.operations.registry import HANDLERS
from ..propagation.recording import Operation, Recording, Value
from ..propagation.route import Ending

LATER = ("pooling", "dense", "softmax")  # not what stands before pooling and dense layers
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Layer:
    """A value `[N, C, ...]` with positions; its name; the number of the input that these are of."""

    value: Value
    name: str
    input: int

    def __str__(self) -> str:
        return f"{self.name!r} ({' x '.join(map(str, self.value.shape[1:]))})"


def family_of(operation: Operation) -> Family | None:
    """What the operation is, if that is known."""
    handler = HANDLERS.get(operation.target)
    try:
        return None if handler is None else handler(operation)
    except UnsupportedOperation:
        return None


def find_layer(recording: Recording, name: str | None) -> Layer:
    """The output of the module `name` (its last run), or else the last value with positions.

    Raises UnknownName, InvalidInput where it has no positions or none has.
    """
    value, label = _last(recording) if name is None else (_named(recording, name), name)
    if value.ndim < 3 or value.shape[0] != recording.batch:
        raise InvalidInput(
            f"the output of layer {label!r} has the shape {tuple(value.shape)}, without positions: "
            "name one with [N, C, ...], such as a convolution"
        )
    return Layer(value, label, _image(recording, value, label))


def _named(recording: Recording, name: str) -> Value:
    if name not in recording.module_names:
        raise UnknownName("layer", name, recording.module_names)
    if name not in recording.module_outputs:
        raise InvalidInput(
            f"layer {name!r} did not run, or its output does not depend on the inputs"
        )
    return recording.module_outputs[name][-1]


def _last(recording: Recording) -> tuple[Value, str]:
    """The last value with as many positions as the last convolution has, not yet pooled."""
    reached = recording.ancestors()
    families = [family_of(operation) for operation in recording.operations]
    positions: tuple[int, ...] = ()
    for operation, family in zip(recording.operations, families, strict=True):
        shape = operation.output.shape
        convolves = family is not None and family.kind == "convolution"
        if convolves and operation.output.index in reached and prod(shape[2:]) > 1:
            positions = tuple(shape[2:])
    for operation, family in zip(reversed(recording.operations), reversed(families), strict=True):
        output = operation.output
        earlier = family is None or family.kind not in LATER
        fits = output.shape[:1] == (recording.batch,) and output.shape[2:] == positions
        if positions and fits and earlier and output.index in reached:
            return output, operation.module or operation.name
    raise InvalidInput(
        "class activation maps need a value with positions, and no convolution of this model has "
        "any; name a module with layer=, or choose another method"
    )


def _image(recording: Recording, value: Value, label: str) -> int:
    """The input whose positions those of the value are."""
    makers = recording.producers()
    waiting, seen = [value], set()
    while waiting:
        present = waiting.pop()
        if present.index not in seen:
            seen.add(present.index)
            maker = makers.get(present.index)
            waiting += [] if maker is None else list(maker.inputs())
    found = [
        number
        for number, given in enumerate(recording.input_values)
        if given is not None and given.index in seen and given.ndim == value.ndim
    ]
    if len(found) != 1:
        raise InvalidInput(
            f"layer {label!r} with positions {tuple(value.shape[2:])} must come from one input "
            f"with as many axes, and comes from {len(found)}"
        )
    return found[0]


def check_linear(recording: Recording, layer: Layer, ending: Ending) -> None:
    """Raise InvalidInput where what follows the layer is not linear: CAM would not sum to f."""
    depends = {layer.value.index}
    for operation in recording.operations:
        if operation is ending.operation or not any(v.index in depends for v in operation.inputs()):
            continue
        if operation.output.index == layer.value.index:
            continue
        if not isinstance(family_of(operation), (Linear, Move, Follow, Concatenation)):
            raise InvalidInput(
                f"CAM needs a model that is linear behind layer {layer}, such as global average "
                f"pooling and one dense layer; {operation.name} in "
                f"{operation.module or 'the model'!r} is not: use 'grad-cam', or name a later layer"
            )
        depends.update(value.index for value in operation.outputs if value is not None)


def resized(maps: Tensor, image: Tensor) -> Tensor:
    """Maps `[N, 1, ...]` interpolated to the positions of the image, `[N, 1, ...]`."""
    size = image.shape[2:]
    return functional.interpolate(maps, size, mode=MODES[len(size)], align_corners=False)
