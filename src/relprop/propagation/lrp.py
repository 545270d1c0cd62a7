"""LRP from a recording to an explanation: target, plan, walk, and what the result says about
them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InvalidInput, InvalidRule, RelpropWarning, UnknownName
from ..result import Explanation
from .checks import check_batch
from .operations.movement import Move
from .operations.registry import HANDLERS, overloads
from .plan import Plan, make_plan
from .presets import Preset, as_preset
from .recording import Operation, Recording, Value, replace_leaves
from .rules import BIAS_MODES, Rule
from .targets import choose_start, predicted
from .walk import Walked, walk

ENDINGS = set(
    overloads("_softmax", "_log_softmax", "sigmoid", "_safe_softmax", "log_sigmoid_forward")
)
MOSTLY_ABSORBED = 0.9


@dataclass(frozen=True)
class Options:
    """What an explanation by LRP can be asked for, besides the target."""

    rules: str | Rule | Preset | None = None
    flat_until: str | None = None
    layers: tuple[str, ...] = ()
    class_axis: int = -1
    bias: str = "absorb"

    def __post_init__(self) -> None:
        if self.bias not in BIAS_MODES:
            raise InvalidRule(f"bias must be one of {', '.join(BIAS_MODES)}, got {self.bias!r}")
        if self.rules is not None:
            as_preset(self.rules)


def plan_recording(
    recording: Recording, options: Options, *, refuse: bool = True
) -> tuple[Plan, Preset]:
    """The plan of a recording and the preset that it follows (chosen by the network where none
    is given).
    """
    chosen: list[Preset] = []

    def preset(residual: bool) -> Preset:
        name = "epsilon-gamma-flat" if residual else "thesis"
        chosen.append(as_preset(name if options.rules is None else options.rules))
        return chosen[0]

    plan = make_plan(
        recording,
        preset,
        flat_until=options.flat_until,
        bias=options.bias,
        left_out=ending(recording)[0],
        refuse=refuse,
    )
    return plan, chosen[0]


def explain_recording(
    recording: Recording, target: Any, options: Options, *, release: bool = False
) -> Explanation:
    """Explain one recorded run. Raises InvalidTarget, InvalidRule, UnknownName,
    UnsupportedOperation.
    """
    check_layers(options.layers, recording)
    check_batch(recording.tensor(recording.output_value), recording.input_tensors)
    left_out, output = ending(recording)
    if target is None:
        target = predicted(recording.tensor(recording.output_value), options.class_axis)
    start = choose_start(output.detach(), target, options.class_axis)
    plan, preset = plan_recording(recording, options)
    relevance = [weights * output for weights in start.weights]
    if plan.assumes_positive_output and any(bool((r < 0).any()) for r in relevance):
        warnings.warn(
            "an AlphaBeta or ZPlus rule at the top starts from an output that is negative: these "
            "rules "
            "assume positive outputs, and the map comes out with the wrong sign (thesis 5.4.1); "
            "use "
            "Epsilon for the last layer",
            RelpropWarning,
            stacklevel=4,
        )
    walked = walk(recording, plan, relevance, layers=options.layers, release=release)
    notes = recording.notes
    if left_out is not None:
        notes = (
            *notes,
            f"{left_out.name} at the end of the model is left out: relevance starts at its input",
        )
    _warn_absorbed(walked)
    return _result(
        recording, walked, start.single, output.clone(), start.target, preset.name, notes
    )


def ending(recording: Recording) -> tuple[Operation | None, Tensor]:
    """The softmax or sigmoid that ends the model, if there is one, and the output without it."""
    producers = recording.producers()
    moves: list[Operation] = []
    operation = producers.get(recording.output_value.index)
    while operation is not None and operation.target not in ENDINGS:
        handler = HANDLERS.get(operation.target)
        family = handler(operation) if handler is not None else None
        inputs = list(operation.inputs())
        if not (isinstance(family, Move) and family.keeps_order):
            operation = None
            break
        moves.append(operation)
        operation = producers.get(inputs[0].index)
    if operation is None:
        return None, recording.tensor(recording.output_value)
    present = recording.tensor(next(operation.inputs()))
    for move in reversed(moves):
        args, kwargs = replace_leaves((move.args, move.kwargs), _given(present))
        present = move.target(*args, **kwargs)
    return operation, present


def _given(tensor: Tensor) -> Any:
    return lambda leaf: tensor if isinstance(leaf, Value) else leaf


def check_names(model: Any, options: Options) -> None:
    """Unknown layers are refused before the model runs."""
    if not isinstance(model, torch.nn.Module):
        return
    names = [name for name, _ in model.named_modules() if name]
    wanted = (*options.layers, *(() if options.flat_until is None else (options.flat_until,)))
    for name in wanted:
        if name not in names:
            raise UnknownName("layer", name, names)


def check_layers(layers: Sequence[str], recording: Recording) -> None:
    """Every layer asked for exists and its output depends on the input."""
    for name in layers:
        if name not in recording.module_names:
            raise UnknownName("layer", name, recording.module_names)
        if name not in recording.module_outputs:
            raise InvalidInput(
                f"layer {name!r} did not run, or its output does not depend on the inputs"
            )


def _warn_absorbed(walked: Walked) -> None:
    ledger = walked.ledger
    absorbed, start = ledger.absorbed.detach().abs(), ledger.start.detach().abs()
    mostly = absorbed > MOSTLY_ABSORBED * start
    if bool((mostly & (start != 0)).any()):
        share = (absorbed / start.clamp(min=1e-30)).max()
        warnings.warn(
            f"biases and stabilisers absorbed more than {MOSTLY_ABSORBED:.0%} of the output for "
            f"{int(mostly.sum())} of {mostly.numel()} maps (up to {float(share):.0%}): the maps "
            "show only what is left; see explanation.ledger",
            RelpropWarning,
            stacklevel=5,
        )


def _result(
    recording: Recording,
    walked: Walked,
    single: bool,
    output: Tensor,
    target: Any,
    preset: str,
    notes: tuple[str, ...],
) -> Explanation:
    entries: list[Tensor | None] = []
    reached = recording.ancestors()
    for index, value in enumerate(recording.input_values):
        given = recording.input_tensors[index]
        maps = [found[index] for found in walked.inputs]
        if all(m is None for m in maps):
            if given.is_floating_point() and (value is None or value.index not in reached):
                raise InvalidInput(
                    f"the output does not depend on input {index} of shape {tuple(given.shape)}; "
                    "leave it "
                    "out, or pass it through a lambda"
                )
            entries.append(torch.zeros(given.shape) if given.is_floating_point() else None)
            continue
        assert value is not None
        zeros = torch.zeros(value.shape)
        present = [zeros if m is None else m for m in maps]
        entries.append(present[0] if single else torch.stack(present, 1))
    flat, structure = recording.structure
    remaining = iter(entries)
    leaves = [next(remaining) if isinstance(leaf, Tensor) else None for leaf in flat]
    layers = {
        name: _one_or_many([run[0] if single else torch.stack(run, 1) for run in runs])
        for name, runs in walked.layers.items()
    }
    ledger = walked.ledger.squeezed() if single else walked.ledger
    return Explanation(
        relevance=pytree.tree_unflatten(leaves, structure),
        output=output,
        target=target,
        method="lrp",
        preset=preset,
        layers=layers,
        ledger=ledger,
        notes=notes,
        grouped=not single,
    )


def _one_or_many(runs: list[Tensor]) -> Tensor | list[Tensor]:
    return runs[0] if len(runs) == 1 else runs
