"""Positions: where operations stand, counted in dense layers and convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidInput, UnknownName
from .operations.family import Family
from .presets import Site
from .recording import Operation, Recording

WEIGHTED = ("dense", "convolution")


class Positions:
    """How many weighted layers stand before each value and, as the plan grows, after it."""

    def __init__(self, recording: Recording, families: Sequence[Family | None]) -> None:
        self.output = recording.output_value.index
        self.fewest = [0] * len(recording.values)
        self.most = [0] * len(recording.values)
        self.untouched = {v.index for v in recording.input_values if v is not None}
        self.after: dict[int, int] = {self.output: 0}
        for operation, family in zip(recording.operations, families, strict=True):
            self._count(operation, "" if family is None else family.kind)

    def _count(self, operation: Operation, kind: str) -> None:
        inputs = [value.index for value in operation.inputs()]
        step = kind in (*WEIGHTED, "embedding")
        moved = kind == "movement" and all(i in self.untouched for i in inputs)
        for value in operation.outputs:
            if value is not None:
                self.fewest[value.index] = min(self.fewest[i] for i in inputs) + step
                self.most[value.index] = max(self.most[i] for i in inputs) + step
                if moved:
                    self.untouched.add(value.index)

    def reaches(self, operation: Operation) -> bool:
        """Whether relevance arrives at an output of the operation."""
        return any(v is not None and v.index in self.after for v in operation.outputs)

    def pass_on(self, operation: Operation, family: Family) -> None:
        """Relevance goes on to the sources of the family."""
        height = max(self.after[v.index] for v in operation.outputs if v and v.index in self.after)
        for value in family.sources:
            above = height + (family.kind in WEIGHTED)
            self.after[value.index] = max(self.after.get(value.index, 0), above)

    def reads_input(self, family: Family) -> bool:
        """Whether what the operation reads is the model's input, at most moved."""
        return all(value.index in self.untouched for value in family.sources)

    def site(self, operation: Operation, family: Family, output: int | None = None) -> Site:
        """What presets are asked about; `output` is where a folded operation ends."""
        indices = [value.index for value in family.sources]
        fewest = min((self.fewest[i] for i in indices), default=0)
        most = max((self.most[i] for i in indices), default=0)
        weighted = family.kind in WEIGHTED
        end = operation.output.index if output is None else output
        return Site(
            family.kind,
            operation.module,
            first=fewest == 0 if weighted else most == 0,
            last=weighted and self.after.get(end, 0) == 0,
            depth=max(most if weighted else most - 1, 0) / max(self.most[self.output] - 1, 1),
        )


def flat_zone(recording: Recording, name: str | None) -> set[int]:
    """The operations up to and including the module `name`, by index (thesis 5.4.2)."""
    if name is None:
        return set()
    if name not in recording.module_names:
        raise UnknownName("layer (flat_until)", name, recording.module_names)
    waiting = [
        op for op in recording.operations if op.module == name or op.module.startswith(f"{name}.")
    ]
    if not waiting:
        raise InvalidInput(f"flat_until={name!r}: that module computed nothing from the inputs")
    producers = recording.producers()
    zone: set[int] = set()
    while waiting:
        operation = waiting.pop()
        if operation.index not in zone:
            zone.add(operation.index)
            makers = (producers.get(value.index) for value in operation.inputs())
            waiting.extend(maker for maker in makers if maker is not None)
    return zone
