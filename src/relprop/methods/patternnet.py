"""PatternNet and PatternAttribution: the way back through learned patterns (Kindermans et al.
2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, UnsupportedOperation
from ..propagation.checks import check_batch
from ..propagation.operations.choice import Maximum, WindowPool
from ..propagation.operations.elementwise import Activation, LeftOut
from ..propagation.operations.follow import Follow
from ..propagation.operations.linear import Linear
from ..propagation.operations.movement import Concatenation, Move
from ..propagation.plan import Plan, Step
from ..propagation.record import record
from ..propagation.recording import Recording, Value
from ..propagation.route import find_ending
from ..result import Explanation
from .objective import Pass, asking, explanation_of
from .pair import pull_back
from .pattern_layers import Layer, layers_of, plan_of
from .patterns import Patterns
from .registry import register
from .replayed import notes_on

Standing = Callable[[Tensor, Tensor], Tensor]  # weights, pattern -> what the way back is made of
# A signal has the sign of a colour, not of a vote: its channels do not add up.
POOLINGS = {"patternnet": "l2", "pattern-attribution": "sum"}
FOLLOWED = (Activation, WindowPool, Maximum, Move, Concatenation, Follow)


@register("patternnet", question="signal", cost="1, and a forward pass to record")
def patternnet(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    patterns: Patterns | None = None,
) -> Explanation:
    """The output sent back through the patterns of all layers, as the gradient is through weights.

    A question about the signal: what in the input the network detected. `patterns`: as
    `relprop.methods.learn_patterns(model, batches)` finds them. Relevance is shaped like the
    inputs. Cost: one gradient. Raises InvalidInput without patterns, StoreMismatch for those of
    another model, UnsupportedOperation.
    """
    return _through("patternnet", model, inputs, target, class_axis, patterns, lambda w, a: a)


@register("pattern-attribution", question="attribution", cost="1, and a forward pass to record")
def pattern_attribution(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    patterns: Patterns | None = None,
) -> Explanation:
    """The output sent back through weights times patterns: how much each signal contributed.

    A question about attribution. Otherwise as "patternnet", also in its cost.
    """
    return _through(
        "pattern-attribution", model, inputs, target, class_axis, patterns, lambda w, a: w * a
    )


def _through(
    method: str,
    model: Any,
    inputs: Any,
    target: Any,
    class_axis: int,
    patterns: Patterns | None,
    standing: Standing,
) -> Explanation:
    if not isinstance(patterns, Patterns):
        raise InvalidInput(
            f"method {method!r} needs patterns=: relprop.methods.learn_patterns(model, batches) "
            "learns them, Patterns.load(path) reads them"
        )
    with torch.inference_mode(False), torch.no_grad():
        recording = record(model, inputs, layers=())
        check_batch(recording.output_value, recording.input_tensors)
        ending = find_ending(recording)
        output = ending.output(recording)
        start = asking(target, class_axis)(output, recording.tensor(recording.output_value))
        plan = plan_of(recording)
        back = {
            index: (layer, standing(weight, patterns.of(layer.name, weight)))
            for index, layer in layers_of(plan).items()
            for weight in [layer.weight(recording.tensor(layer.value).dtype)]
        }
        maps = [_walk(recording, plan, weights * output, back, method) for weights in start.weights]
        run = Pass(output, start, [], [], notes_on(recording, ending))
        return explanation_of(method, inputs, run, maps, pooling=POOLINGS[method])


def _walk(
    recording: Recording,
    plan: Plan,
    signal: Tensor,
    back: dict[int, tuple[Layer, Tensor]],
    method: str,
) -> list[Tensor | None]:
    """What reaches each input."""
    waiting = {recording.output_value.index: signal}
    for step in plan.steps:
        received = [None if v is None else waiting.get(v.index) for v in step.operation.outputs]
        if all(part is None for part in received):
            continue
        for value, part in _back(recording, step, received, back, method):
            present = waiting.get(value.index)
            waiting[value.index] = part if present is None else present + part
    return [None if v is None else waiting.get(v.index) for v in recording.input_values]


def _back(
    recording: Recording,
    step: Step,
    received: list[Tensor | None],
    back: dict[int, tuple[Layer, Tensor]],
    method: str,
) -> list[tuple[Value, Tensor]]:
    family, signal = step.family, received[0]
    if step.operation.index in back and signal is not None:
        layer, pattern = back[step.operation.index]
        return [(layer.value, layer.transpose(pattern, signal))]
    if isinstance(family, LeftOut) and signal is not None:
        return [(family.value, signal)]
    if isinstance(family, Linear) and signal is not None:
        return [(term.value, term.map.transpose(signal)) for term in family.terms]
    if isinstance(family, FOLLOWED):
        inputs = {value.index: recording.tensor(value) for value in step.operation.inputs()}
        return pull_back(step.operation, family, inputs, received)
    raise UnsupportedOperation(
        f"{method} is defined for networks of dense layers, convolutions, ReLUs and pooling, not "
        f"for {step.names} in {step.module or 'the model'}"
    )
