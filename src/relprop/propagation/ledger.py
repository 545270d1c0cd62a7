"""The ledger: what every operation received, passed on and absorbed, each figure from its own
formula."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

COLUMNS = ("received", "passed", "bias", "stabiliser", "lost", "remainder")


@dataclass(frozen=True, eq=False)
class Row:
    """One operation of the walk; the figures are `[N]`, or `[N, K]` for K targets."""

    module: str
    operation: str
    rule: str
    received: Tensor
    passed: Tensor
    bias: Tensor
    stabiliser: Tensor
    lost: Tensor

    @property
    def remainder(self) -> Tensor:
        """What is missing: received less passed, bias, stabiliser and lost; 0 but for rounding."""
        return self.received - self.passed - self.bias - self.stabiliser - self.lost


@dataclass(frozen=True, eq=False)
class Ledger:
    """Rows in the order of the walk (output first); `start` is what entered, `arrived` what
    reached inputs.
    """

    rows: tuple[Row, ...]
    start: Tensor
    arrived: Tensor
    magnitude: Tensor = field(repr=False)  # sum |R| at the inputs, [N] or [N, K]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def totals(self) -> dict[str, Tensor]:
        """Column -> `[N]` (`[N, K]`): what entered, what reached the inputs, and the sums of
        the rest.
        """
        return dict(self._totals)

    @cached_property
    def _totals(self) -> dict[str, Tensor]:
        absorbed = {
            name: torch.stack(
                [torch.zeros_like(self.start), *(getattr(r, name) for r in self.rows)]
            )
            for name in ("bias", "stabiliser", "lost")
        }
        sums = {name: figures.sum(0) for name, figures in absorbed.items()}
        remainder = self.start - self.arrived - sum(sums.values())
        return {"received": self.start, "passed": self.arrived, **sums, "remainder": remainder}

    def copied(self) -> Ledger:
        """The same figures in memory of their own, copied together."""
        figures = [getattr(row, name) for row in self.rows for name in COLUMNS[:-1]]
        copies = torch.stack([self.start, self.arrived, self.magnitude, *figures]).unbind()
        width = len(COLUMNS) - 1
        rows = tuple(
            Row(row.module, row.operation, row.rule, *copies[at : at + width])
            for row, at in zip(self.rows, range(3, len(copies), width), strict=True)
        )
        return Ledger(rows, *copies[:3])

    @classmethod
    def joined(cls, ledgers: Sequence[Ledger]) -> Ledger:
        """The ledgers of consecutive batches as one.

        A model that branches on its data runs other operations for other batches: what a batch
        did not run is zero for its samples.
        """
        keys: dict[tuple[Any, ...], None] = {}
        found = []
        for ledger in ledgers:
            counted: dict[tuple[Any, ...], Row] = {}
            for row in ledger.rows:
                name = (row.module, row.operation, row.rule)
                counted[(*name, sum(key[:3] == name for key in counted))] = row
            keys.update(dict.fromkeys(counted))
            found.append(counted)
        rows = tuple(
            Row(
                *key[:3],
                *(
                    torch.cat(
                        [
                            getattr(counted[key], name)
                            if key in counted
                            else torch.zeros_like(ledger.start)
                            for counted, ledger in zip(found, ledgers, strict=True)
                        ]
                    )
                    for name in COLUMNS[:-1]
                ),
            )
            for key in keys
        )
        names = ("start", "arrived", "magnitude")
        return cls(
            rows, *(torch.cat([getattr(ledger, name) for ledger in ledgers]) for name in names)
        )

    @classmethod
    def side_by_side(cls, ledgers: Sequence[Ledger]) -> Ledger:
        """The ledgers of some targets after those of others, `[N, K]`."""
        rows = tuple(
            _row(same[0], [[getattr(row, name) for row in same] for name in COLUMNS[:-1]])
            for same in zip(*(ledger.rows for ledger in ledgers), strict=True)
        )
        names = ("start", "arrived", "magnitude")
        totals = (torch.cat([getattr(ledger, name) for ledger in ledgers], 1) for name in names)
        return cls(rows, *totals)

    @property
    def absorbed(self) -> Tensor:
        """Bias, stabiliser and lost together, `[N]` or `[N, K]`."""
        totals = self.totals()
        return totals["bias"] + totals["stabiliser"] + totals["lost"]

    def gap(self) -> Tensor:
        """|f - sum R - absorbed| / max(|f|, sum |R|, sum |absorbed|), `[N]` or `[N, K]`."""
        totals = self.totals()
        magnitudes = sum(
            (
                getattr(row, name).abs()
                for row in self.rows
                for name in ("bias", "stabiliser", "lost")
            ),
            torch.zeros_like(self.start),
        )
        scale = torch.stack([self.start.abs(), self.magnitude, magnitudes]).amax(0)
        tiny = torch.finfo(scale.dtype).tiny
        return totals["remainder"].abs() / scale.clamp(min=tiny)

    def to_frame(self) -> Any:
        """A pandas table: one line an operation, figures averaged over samples and targets."""
        try:
            import pandas
        except ImportError:
            raise ImportError("Ledger.to_frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(
            [
                {
                    "module": row.module,
                    "operation": row.operation,
                    "rule": row.rule,
                    **{name: float(getattr(row, name).mean()) for name in COLUMNS},
                }
                for row in self.rows
            ]
        )

    def __str__(self) -> str:
        lines = [f"{'module':30} {'operation':40} " + " ".join(f"{name:>11}" for name in COLUMNS)]
        for row in self.rows:
            figures = " ".join(f"{float(getattr(row, name).mean()):11.4g}" for name in COLUMNS)
            lines.append(f"{row.module:30.30} {row.operation:40.40} {figures}")
        return "\n".join(lines)


def _row(like: Row, columns: Sequence[Sequence[Tensor]]) -> Row:
    figures = (torch.cat(list(column), 1) for column in columns)
    return Row(like.module, like.operation, like.rule, *figures)
