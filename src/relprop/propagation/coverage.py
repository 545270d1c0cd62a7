"""Coverage: the plan as a table, before any number is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .plan import Plan
from .presets import Preset
from .recording import Recording


@dataclass(frozen=True)
class CoverageRow:
    """One operation: where it ran, what it is, and how relevance is shared there."""

    module: str
    operation: str
    family: str
    rule: str
    reason: str = ""

    @property
    def refused(self) -> bool:
        return self.rule == "refused"


@dataclass(frozen=True)
class Coverage:
    """The rows in the order of the run, the name of the preset, and what else the recording
    noted.
    """

    rows: tuple[CoverageRow, ...]
    preset: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[CoverageRow]:
        return iter(self.rows)

    @property
    def refused(self) -> tuple[CoverageRow, ...]:
        """The operations without a rule."""
        return tuple(row for row in self.rows if row.refused)

    def __str__(self) -> str:
        table = [("module", "operation", "family", "rule")]
        table += [
            (row.module or "(model)", row.operation, row.family, f"{row.rule}: {row.reason}")
            if row.refused
            else (row.module or "(model)", row.operation, row.family, row.rule)
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in table) for column in range(3)]
        lines = [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]
            )
            for line in table
        ]
        counted = f"{len(self.rows)} operations, {len(self.refused)} refused; preset {self.preset}"
        return "\n".join([*lines, counted, *self.notes])


def coverage_of(recording: Recording, plan: Plan, preset: Preset) -> Coverage:
    """One row for every recorded operation; folded ones and those that relevance does not reach
    too.
    """
    steps = {step.operation.index: step for step in plan.steps}
    folded = {op.index: step for step in plan.steps for op in step.folded}
    refusals = {op.index: reason for op, reason in plan.refusals}
    rows = []
    for operation in recording.operations:
        index = operation.index
        family, rule, reason = "", "not reached by relevance", ""
        if index in refusals:
            rule, reason = "refused", refusals[index]
        elif index in folded:
            family, rule = folded[index].family.kind, f"folded: {folded[index].rule_name}"
        elif index in steps:
            family, rule = steps[index].family.kind, steps[index].rule_name
        rows.append(CoverageRow(operation.module, operation.name, family, rule, reason))
    return Coverage(tuple(rows), preset.name, recording.notes)
