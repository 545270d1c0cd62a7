"""Excitation backpropagation: z+ on the engine of LRP, from a winner of probability one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..propagation.lrp import Options, find_route
from ..propagation.record import record
from ..propagation.recording import Recording
from ..propagation.route import Route
from ..propagation.rules import ZPlus
from ..propagation.walk import Walked, walk
from ..result import Explanation
from .objective import Maps, Pass, asking, explanation_of
from .registry import register
from .replayed import notes_on


@register("excitation-backprop", question="signal", cost="as LRP: about 2")
def excitation_backprop(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1
) -> Explanation:
    """P_i = sum_j x_i w+_ij / sum_i' x_i' w+_i'j P_j, from P = 1 at the target (Zhang et al. 2018).

    A question about the signal: the winners whose excitation leads to the output. It is ZPlus
    without biases (thesis 2.26) up to the value that it starts from, here with inputs of either
    sign; so it has a ledger. Cost: as an explanation by LRP. Raises InvalidInput, InvalidTarget,
    UnsupportedOperation.
    """
    recording = record(model, inputs, layers=())
    options = Options(ZPlus(bias="ignore"), class_axis=class_axis)
    with torch.inference_mode(False), torch.no_grad():
        route = find_route(recording, options)
        output = route.ending.output(recording)
        said = recording.tensor(recording.output_value)
        start = asking(target, class_axis)(output, said)
        run = Pass(output.clone(), start, [], [], notes_on(recording, route.ending))
        begins = [weights.clone(memory_format=torch.contiguous_format) for weights in start.weights]
        walked = walk(recording, route, begins, single=start.single, release=True)
    maps = _maps(recording, route, walked)
    preset, ledger = route.preset, walked.ledger
    return explanation_of("excitation-backprop", inputs, run, maps, preset=preset, ledger=ledger)


def _maps(recording: Recording, route: Route, walked: Walked) -> Maps:
    """What arrived at the inputs: zeros where nothing came, None at integers."""
    maps: Maps = [list(found) for found in walked.inputs]
    for number, tensor in enumerate(recording.input_tensors):
        value = recording.input_values[number]
        if not tensor.is_floating_point():
            continue
        if value is None or value.index not in route.reached:
            raise InvalidInput(
                f"the output does not depend on input {number} of shape {tuple(tensor.shape)}; "
                "leave it out, or pass it through a lambda"
            )
        for found in maps:
            found[number] = _present(found[number], tensor)
    return maps


def _present(found: Tensor | None, tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, device=tensor.device) if found is None else found
