"""Walk: send relevance backwards along the plan, step by step, and keep the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidInput
from .ledger import COLUMNS, Ledger, Row
from .operations.family import Context, Share
from .plan import Step
from .recording import Recording, Value, is_continuous
from .route import Route
from .workspace import Workspace


@dataclass(eq=False)
class Walked:
    """The result of a walk, one entry for each target."""

    inputs: list[list[Tensor | None]]  # [target][input]
    layers: dict[str, list[list[Tensor]]]  # name -> [run][target]
    ledger: Ledger


@dataclass
class _Parcel:
    """Relevance under way to a value, with its sum per sample."""

    relevance: Tensor
    total: Tensor


class _Walker:
    def __init__(
        self,
        recording: Recording,
        route: Route,
        layers: Sequence[str],
        targets: int,
        *,
        reuses: bool,
    ) -> None:
        plan = route.plan
        self.recording, self.plan, self.targets = recording, plan, targets
        output = recording.tensor(recording.output_value)
        self.device = output.device
        self.dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
        self.layouts = route.layouts
        self.waiting: list[dict[int, _Parcel]] = [{} for _ in range(targets)]
        self.wanted = {value.index for name in layers for value in recording.module_outputs[name]}
        self.wanted = {plan.stands_for.get(i, i) for i in self.wanted}
        self.integers = {
            value.index
            for step in plan.steps
            for value in step.family.sources
            if not is_continuous(value.dtype)
        } - {value.index for value in recording.input_values if value is not None}
        self.kept: list[dict[int, Tensor]] = [{} for _ in range(targets)]
        outputs = [v for step in plan.steps for v in step.operation.outputs if v is not None]
        largest = max((value.shape.numel() for value in outputs), default=0)
        self.workspace = Workspace(largest, reuses=reuses)

    def step(self, step: Step) -> Row:
        """Share what has arrived at the outputs of one operation, for every target."""
        operation = step.operation
        self.workspace.begin()
        context = Context(
            self.recording,
            operation,
            self.layouts,
            self.dtype,
            self.device,
            self.workspace,
            step.output,
            self.plan.nonnegative,
            step.silent,
        )
        share = step.family.prepare(step.rule, context)
        figures = []
        for target in range(self.targets):
            parcels = [self._take(target, value) for value in operation.outputs]
            shared = share([None if parcel is None else parcel.relevance for parcel in parcels])
            received = torch.stack([p.total for p in parcels if p is not None]).sum(0)
            figures.append(self._book(step, target, parcels, shared, received))
        columns = [torch.stack(column, 1) for column in zip(*figures, strict=True)]
        layer = next((op for op in step.folded if op.module), operation)
        return Row(layer.module or operation.module, step.names, step.rule_name, *columns)

    def _take(self, target: int, value: Value | None) -> _Parcel | None:
        if value is None:
            return None
        parcel = self.waiting[target].pop(value.index, None)
        if parcel is not None and value.index in self.wanted:
            self.kept[target][value.index] = _copy(parcel.relevance)
        return parcel

    def _book(
        self,
        step: Step,
        target: int,
        parcels: list[_Parcel | None],
        shared: Share,
        received: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        passed = torch.zeros_like(received)
        for value, message in zip(step.family.sources, shared.messages, strict=True):
            if message is None:
                continue
            same = next((p for p in parcels if p is not None and p.relevance is message), None)
            total = self.layouts[value.index].sum(message) if same is None else same.total
            passed = passed + total
            self._send(target, value, _Parcel(message, total))
        nothing = torch.zeros_like(received)
        booked = [
            nothing if b is None else b for b in (shared.bias, shared.stabiliser, shared.lost)
        ]
        return received, passed, booked[0], booked[1], booked[2]

    def _send(self, target: int, value: Value, parcel: _Parcel) -> None:
        present = self.waiting[target].get(value.index)
        if present is not None:
            own = self.workspace.own(present.relevance)
            relevance = torch.add(present.relevance, parcel.relevance, out=own)
            parcel = _Parcel(relevance, present.total + parcel.total)
        self.waiting[target][value.index] = parcel

    def start(self, target: int, relevance: Tensor) -> Tensor:
        """Relevance at the output of the model; returns its sum per sample."""
        relevance = relevance.to(self.dtype)
        total = self.layouts[self.recording.output_value.index].sum(relevance)
        self._send(target, self.recording.output_value, _Parcel(relevance, total))
        return total

    def finish(self, layers: Sequence[str], rows: list[Row], start: Tensor) -> Walked:
        """Collect what reached the inputs and the layers; what rests elsewhere met an integer
        dead end.
        """
        inputs: list[list[Tensor | None]] = []
        arrived, magnitude = torch.zeros_like(start), torch.zeros_like(start)
        for target in range(self.targets):
            parcels = [self._take(target, value) for value in self.recording.input_values]
            inputs.append([None if p is None else p.relevance for p in parcels])
            for value, parcel in zip(self.recording.input_values, parcels, strict=True):
                if value is not None and parcel is not None:
                    arrived[:, target] += parcel.total
                    layout = self.layouts[value.index]
                    magnitude[:, target] += layout.sum(parcel.relevance.abs())
        rows = [*rows, *self._dead_ends(start)]
        ledger = Ledger(tuple(rows), start, arrived, magnitude)
        found = {name: self._layer(name) for name in layers}
        return Walked(inputs, found, ledger)

    def _dead_ends(self, start: Tensor) -> list[Row]:
        """Relevance that an embedding sent to integers which are no input: constants absorb it."""
        left = torch.zeros_like(start)
        for target, waiting in enumerate(self.waiting):
            for index, parcel in waiting.items():
                if index in self.integers:
                    left[:, target] += parcel.total
        if not self.integers:
            return []
        nothing = torch.zeros_like(left)
        return [Row("", "integers", "held constant", left, nothing, left, nothing, nothing)]

    def _layer(self, name: str) -> list[list[Tensor]]:
        runs = []
        for value in self.recording.module_outputs[name]:
            index = self.plan.stands_for.get(value.index, value.index)
            zeros = torch.zeros(value.shape, dtype=self.dtype)
            found = [kept.get(index, zeros).reshape(value.shape) for kept in self.kept]
            runs.append(found)
        return runs


def walk(
    recording: Recording,
    route: Route,
    relevance: Sequence[Tensor],
    *,
    layers: Sequence[str] = (),
    release: bool = False,
) -> Walked:
    """Propagate each relevance of the output (one for each target) to the inputs.

    `layers`: modules whose outputs' relevance is kept. `release` frees recorded values as the walk
    passes them. Raises InvalidInput where relevance is not finite, naming the operation.
    """
    plan = route.plan
    walker = _Walker(recording, route, layers, len(relevance), reuses=not torch.is_grad_enabled())
    start = torch.stack([walker.start(i, r) for i, r in enumerate(relevance)], 1)
    last = {index: step for step in plan.steps for index in step.reads}
    if release:
        recording.forget(set(range(len(recording.values))) - set(last))
    rows = []
    for step in plan.steps:
        rows.append(walker.step(step))
        if release:
            recording.forget({index for index in step.reads if last[index] is step})
    walked = walker.finish(layers, rows, start)
    _check_finite(walked.ledger)
    return walked


def _copy(relevance: Tensor) -> Tensor:
    return relevance.clone(memory_format=torch.contiguous_format)


def _check_finite(ledger: Ledger) -> None:
    totals = torch.stack([figures.detach() for figures in ledger.totals().values()])
    if bool(torch.isfinite(totals).all()):
        return
    for row in ledger:
        if not all(bool(torch.isfinite(getattr(row, name)).all()) for name in COLUMNS):
            raise InvalidInput(
                f"relevance became NaN or infinite in {row.operation} in "
                f"{row.module or 'the model'} under {row.rule}; a larger epsilon, or inputs and "
                "weights of ordinary size, keep it finite"
            )
