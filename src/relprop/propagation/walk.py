"""Walk: send relevance backwards along the plan, step by step, and keep the ledger."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidInput
from .doubts import holds
from .ledger import COLUMNS, Ledger, Row
from .operations.family import Context, Share
from .plan import Step
from .recording import Recording, Value, is_continuous
from .route import Route
from .workspace import Workspace

TOGETHER = 2**28  # bytes of relevance under way, where many targets walk together


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


@dataclass
class _Mark:
    """What tells whether a message is the very relevance that arrived, which need not be kept."""

    relevance: weakref.ref[Tensor]
    version: int
    total: Tensor

    @classmethod
    def of(cls, parcel: _Parcel) -> _Mark:
        return cls(weakref.ref(parcel.relevance), parcel.relevance._version, parcel.total)

    def stands_for(self, message: Tensor) -> bool:
        return self.relevance() is message and message._version == self.version


class _Walker:
    def __init__(
        self,
        recording: Recording,
        route: Route,
        layers: Sequence[str],
        targets: int,
        *,
        single: bool,
        workspace: Workspace,
    ) -> None:
        plan = route.plan
        self.recording, self.plan, self.targets = recording, plan, targets
        self.single = single
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
        self.workspace = workspace
        self.nothing = torch.zeros(recording.batch, dtype=self.dtype, device=self.device)

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
            self.targets == 1,
        )
        share = step.family.prepare(step.rule, context)
        figures: list[tuple[Tensor, ...]] = []
        for target in range(self.targets):
            parcels = [self._take(target, value) for value in operation.outputs]
            arrived = [parcel for parcel in parcels if parcel is not None]
            if not arrived:  # all that was sent this way is known to be zero
                figures.append((self.nothing, *[self.nothing] * 4))
                continue
            marks = [_Mark.of(parcel) for parcel in arrived]
            given = [None if parcel is None else parcel.relevance for parcel in parcels]
            del parcels, arrived  # the sharer lets relevance go when it has read it
            shared = share(given)
            received = marks[0].total
            for mark in marks[1:]:
                received = received + mark.total
            figures.append((received, *self._book(step, target, marks, shared)))
        columns = [self._joined(list(column)) for column in zip(*figures, strict=True)]
        return Row(step.module, step.names, step.rule_name, *columns)

    def _take(self, target: int, value: Value | None) -> _Parcel | None:
        if value is None:
            return None
        parcel = self.waiting[target].pop(value.index, None)
        if parcel is not None and value.index in self.wanted:
            self.kept[target][value.index] = _copy(parcel.relevance)
        return parcel

    def _book(
        self, step: Step, target: int, marks: list[_Mark], shared: Share
    ) -> tuple[Tensor, ...]:
        """Send the messages on; what passed, and what bias, stabiliser and nothing took."""
        passed = None
        messages = _apart(shared.messages) if self.workspace.reuses else shared.messages
        for value, message in zip(step.family.sources, messages, strict=True):
            if message is None:
                continue
            same = next((mark for mark in marks if mark.stands_for(message)), None)
            total = self.layouts[value.index].sum(message) if same is None else same.total
            passed = total if passed is None else passed + total
            self._send(target, value, _Parcel(message, total))
        figures = (passed, shared.bias, shared.stabiliser, shared.lost)
        return tuple(self.nothing if figure is None else figure for figure in figures)

    def _send(self, target: int, value: Value, parcel: _Parcel) -> None:
        present = self.waiting[target].get(value.index)
        if present is not None:
            own = self.workspace.own(present.relevance)
            relevance = torch.add(present.relevance, parcel.relevance, out=own)
            parcel = _Parcel(relevance, present.total + parcel.total)
        self.waiting[target][value.index] = parcel

    def begin(self, relevance: Sequence[Tensor]) -> Tensor:
        """Relevance at the output of the model, for each target; returns its sums per sample."""
        totals = []
        for target, given in enumerate(relevance):
            wide = given.to(self.dtype)
            totals.append(self.layouts[self.recording.output_value.index].sum(wide))
            self._send(target, self.recording.output_value, _Parcel(wide, totals[-1]))
        return self._joined(totals)

    def finish(self, layers: Sequence[str], rows: list[Row], start: Tensor) -> Walked:
        """Collect what reached the inputs and the layers; what rests elsewhere met an integer
        dead end.
        """
        inputs: list[list[Tensor | None]] = []
        totals, magnitudes = [], []
        for target in range(self.targets):
            parcels = [self._take(target, value) for value in self.recording.input_values]
            inputs.append([None if p is None else p.relevance for p in parcels])
            total, magnitude = self.nothing, self.nothing
            for value, parcel in zip(self.recording.input_values, parcels, strict=True):
                if value is not None and parcel is not None:
                    total = total + parcel.total
                    magnitude = magnitude + self.layouts[value.index].sum(parcel.relevance.abs())
            totals.append(total)
            magnitudes.append(magnitude)
        arrived, magnitude = self._joined(totals), self._joined(magnitudes)
        rows = [*rows, *self._dead_ends(start)]
        ledger = Ledger(tuple(rows), start, arrived, magnitude)
        found = {name: self._layer(name) for name in layers}
        return Walked(inputs, found, ledger)

    def _dead_ends(self, start: Tensor) -> list[Row]:
        """Relevance that an embedding sent to integers which are no input: constants absorb it."""
        if not self.integers:
            return []
        lefts = []
        for waiting in self.waiting:
            ended = [parcel.total for index, parcel in waiting.items() if index in self.integers]
            lefts.append(sum(ended, self.nothing))
        left, nothing = self._joined(lefts), torch.zeros_like(start)
        return [Row("", "integers", "held constant", left, nothing, left, nothing, nothing)]

    def _joined(self, figures: list[Tensor]) -> Tensor:
        """`[N]` for a single target, otherwise `[N, K]`."""
        return figures[0] if self.single else torch.stack(figures, 1)

    def _layer(self, name: str) -> list[list[Tensor]]:
        runs = []
        for value in self.recording.module_outputs[name]:
            index = self.plan.stands_for.get(value.index, value.index)
            zeros = torch.zeros(value.shape, dtype=self.dtype, device=self.device)
            found = [kept.get(index, zeros).reshape(value.shape) for kept in self.kept]
            runs.append(found)
        return runs


def walk(
    recording: Recording,
    route: Route,
    relevance: Sequence[Tensor],
    *,
    layers: Sequence[str] = (),
    single: bool = False,
    release: bool = False,
    workspace: Workspace | None = None,
) -> Walked:
    """Propagate each relevance of the output (one for each target) to the inputs.

    `layers`: modules whose outputs' relevance is kept; `single`: the figures of the ledger are
    `[N]`, for one target; `workspace`: memory from an earlier walk. `release` frees recorded values
    as the walk passes them. Raises InvalidInput where relevance is not finite, and names the place.
    """
    if workspace is None:
        workspace = Workspace(reuses=not torch.is_grad_enabled())
    many = _at_a_time(route)
    chunks = [relevance[begin : begin + many] for begin in range(0, len(relevance), many)]
    found = []
    for number, chunk in enumerate(chunks, start=1):
        walker = _Walker(recording, route, layers, len(chunk), single=single, workspace=workspace)
        found.append(_walked(walker, chunk, layers, release=release and number == len(chunks)))
    walked = found[0] if len(found) == 1 else _side_by_side(found)
    _check_finite(walked.ledger)
    return walked


def _walked(
    walker: _Walker, relevance: Sequence[Tensor], layers: Sequence[str], *, release: bool
) -> Walked:
    """One walk, for some of the targets."""
    steps, recording = walker.plan.steps, walker.recording
    start = walker.begin(relevance)
    last = {index: step for step in steps for index in step.reads}
    if release:
        recording.forget(set(range(len(recording.values))) - set(last))
    rows = []
    for step in steps:
        rows.append(walker.step(step))
        if release:
            recording.forget({index for index in step.reads if last[index] is step})
    return walker.finish(layers, rows, start)


def _at_a_time(route: Route) -> int:
    """How many targets walk together: the relevance of each is as large as the largest value."""
    values = [v for step in route.plan.steps for v in step.family.sources]
    largest = max((value.shape.numel() * 4 for value in values), default=1)
    return max(1, TOGETHER // (2 * largest))


def _side_by_side(parts: Sequence[Walked]) -> Walked:
    """The walks of some targets after those of others."""
    inputs = [found for part in parts for found in part.inputs]
    layers = {
        name: [[one for run in runs for one in run] for runs in zip(*each, strict=True)]
        for name, each in (
            (name, [part.layers[name] for part in parts]) for name in parts[0].layers
        )
    }
    return Walked(inputs, layers, Ledger.side_by_side([part.ledger for part in parts]))


def _apart(messages: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Messages that will be overwritten must not share memory, also not with themselves."""
    found: list[Tensor | None] = []
    seen: set[int] = set()
    for message in messages:
        if message is not None:
            if _repeats(message) or message.data_ptr() in seen:
                message = _copy(message)
            seen.add(message.data_ptr())
        found.append(message)
    return found


def _repeats(tensor: Tensor) -> bool:
    """Whether several elements stand at the same place in memory."""
    strides = tensor.stride()
    if 0 not in strides:
        return False
    return any(stride == 0 and n > 1 for stride, n in zip(strides, tensor.shape, strict=True))


def _copy(relevance: Tensor) -> Tensor:
    return relevance.clone(memory_format=torch.contiguous_format)


def _check_finite(ledger: Ledger) -> None:
    totals = torch.stack([figures.detach() for figures in ledger.totals().values()])
    if holds(torch.isfinite(totals).all()):
        return
    for row in ledger:
        if not all(bool(torch.isfinite(getattr(row, name)).all()) for name in COLUMNS):
            raise InvalidInput(
                f"relevance became NaN or infinite in {row.operation} in "
                f"{row.module or 'the model'} under {row.rule}; a larger epsilon, or inputs and "
                "weights of ordinary size, keep it finite"
            )
