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
from .doubts import notify
from .operations.weights import Weights
from .parameters import BIAS_MODES
from .plan import Plan, make_plan
from .presets import Preset, as_preset
from .recording import Recording
from .route import Route, find_ending, make_route
from .rules import Rule
from .targets import Start, choose_start, predicted
from .walk import Walked, walk
from .workspace import Workspace

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
    recording: Recording,
    options: Options,
    *,
    weights: Weights | None = None,
    refuse: bool = True,
) -> tuple[Plan, Preset]:
    """The plan of a recording and the preset that it follows (chosen by the network where none
    is given).
    """
    chosen: list[Preset] = []

    def preset(residual: bool) -> Preset:
        name = "graded-gamma" if residual else "thesis"
        chosen.append(as_preset(name if options.rules is None else options.rules))
        return chosen[0]

    plan = make_plan(
        recording,
        preset,
        flat_until=options.flat_until,
        bias=options.bias,
        left_out=find_ending(recording).operation,
        weights=weights,
        refuse=refuse,
    )
    return plan, chosen[0]


def find_route(recording: Recording, options: Options, weights: Weights | None = None) -> Route:
    """What is worked out about a recording before its numbers are looked at.

    `weights`: where the parts of weights are kept from call to call. Raises InvalidInput,
    InvalidRule, UnknownName, UnsupportedOperation.
    """
    check_layers(options.layers, recording)
    check_batch(recording.output_value, recording.input_tensors)
    plan, preset = plan_recording(recording, options, weights=weights)
    return make_route(recording, plan, preset.name, find_ending(recording))


def explain_run(
    recording: Recording,
    route: Route,
    target: Any,
    options: Options,
    *,
    release: bool = False,
    workspace: Workspace | None = None,
) -> Explanation:
    """Explain one recorded run along its route. Raises InvalidTarget."""
    output = route.ending.output(recording)
    if target is None:
        target = predicted(recording.tensor(recording.output_value), options.class_axis)
    start = choose_start(output.detach(), target, options.class_axis)
    relevance = [weights * output for weights in start.weights]
    if route.plan.assumes_positive_output:
        notify(torch.stack([(r < 0).any() for r in relevance]).any(), _warn_negative)
    walked = walk(
        recording,
        route,
        relevance,
        layers=options.layers,
        single=start.single,
        release=release,
        workspace=workspace,
    )
    _warn_absorbed(walked)
    return _result(recording, route, walked, start, output.clone())


def check_names(model: Any, options: Options) -> None:
    """Unknown layers are refused before the model runs."""
    asked = options.layers or options.flat_until is not None
    if not asked or not isinstance(model, torch.nn.Module):
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


def _warn_negative() -> None:
    warnings.warn(
        "an AlphaBeta or ZPlus rule at the top starts from an output that is negative: these "
        "rules assume positive outputs, and the map comes out with the wrong sign (thesis "
        "5.4.1); use Epsilon for the last layer",
        RelpropWarning,
        stacklevel=6,
    )


def _warn_absorbed(walked: Walked) -> None:
    ledger = walked.ledger
    absorbed, start = ledger.absorbed.detach().abs(), ledger.start.detach().abs()
    mostly = absorbed > MOSTLY_ABSORBED * start

    def warn() -> None:
        share = (absorbed / start.clamp(min=1e-30)).max()
        warnings.warn(
            f"biases and stabilisers absorbed more than {MOSTLY_ABSORBED:.0%} of the output for "
            f"{int(mostly.sum())} of {mostly.numel()} maps (up to {float(share):.0%}): the maps "
            "show only what is left; see explanation.ledger",
            RelpropWarning,
            stacklevel=7,
        )

    notify((mostly & (start != 0)).any(), warn)


def _result(
    recording: Recording, route: Route, walked: Walked, start: Start, output: Tensor
) -> Explanation:
    single, notes, left_out = start.single, recording.notes, route.ending.operation
    if left_out is not None:
        notes = (
            *notes,
            f"{left_out.name} at the end of the model is left out: relevance starts at its input",
        )
    entries: list[Tensor | None] = []
    for index, value in enumerate(recording.input_values):
        given = recording.input_tensors[index]
        maps = [found[index] for found in walked.inputs]
        if all(m is None for m in maps):
            if given.is_floating_point() and (value is None or value.index not in route.reached):
                raise InvalidInput(
                    f"the output does not depend on input {index} of shape {tuple(given.shape)}; "
                    "leave it "
                    "out, or pass it through a lambda"
                )
            zeros = torch.zeros(given.shape, device=given.device)
            entries.append(zeros if given.is_floating_point() else None)
            continue
        assert value is not None
        present = [torch.zeros(value.shape, device=given.device) if m is None else m for m in maps]
        entries.append((present[0] if single else torch.stack(present, 1)).contiguous())
    flat, structure = recording.structure
    remaining = iter(entries)
    leaves = [next(remaining) if isinstance(leaf, Tensor) else None for leaf in flat]
    layers = {
        name: _one_or_many([run[0] if single else torch.stack(run, 1) for run in runs])
        for name, runs in walked.layers.items()
    }
    return Explanation(
        relevance=pytree.tree_unflatten(leaves, structure),
        output=output,
        target=start.target,
        method="lrp",
        preset=route.preset,
        layers=layers,
        ledger=walked.ledger,
        notes=notes,
        grouped=not single,
    )


def _one_or_many(runs: list[Tensor]) -> Tensor | list[Tensor]:
    return runs[0] if len(runs) == 1 else runs
