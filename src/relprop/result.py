"""Explanation: what every method returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import InvalidInput

if TYPE_CHECKING:
    from .propagation.ledger import Ledger


@dataclass(frozen=True, eq=False)
class Explanation:
    """The relevance of every input component for the explained outputs.

    Tensors for networks. For scikit-learn models numpy arrays: relevance `[n, d]`, sparse where
    the inputs are, a list with one array each for documents and pictures.

    Attributes:
        relevance: the structure of the inputs; each tensor shaped like its input `[N, ...]`, or
            `[N, K, ...]` for target "all" and groups; `[N, T]` for token ids; None at other
            integers.
        output: what the model said, before a final softmax or sigmoid.
        target: the explained neurons.
        method, preset: by which method and rules.
        layers: relevance of the outputs of the modules asked for.
        ledger: where relevance went; None for methods that do not share relevance.
        notes: what the reader should know (a softmax left out, ...).
        pooling: how channels become one number in a heatmap: "sum" for signed methods, "l2" or
            "max" (the largest magnitude) for sensitivity and its relatives.
        names: what the entries of relevance are called, where that is known: the columns of a
            table, or a list of tokens for each document.
    """

    relevance: Any
    output: Any
    target: Any
    method: str
    preset: str | None
    layers: dict[str, Tensor | list[Tensor]]
    ledger: Ledger | None
    notes: tuple[str, ...] = ()
    grouped: bool = field(default=False, repr=False)  # whether maps have an axis of targets
    pooling: str = "sum"
    names: list[Any] | None = field(default=None, repr=False)

    @property
    def bias(self) -> Any:
        """`[N]` (`[N, K]`): all that biases absorbed. Raises InvalidInput without a ledger."""
        return self._like_output(self._kept_ledger("bias").totals()["bias"])

    @property
    def conservation_gap(self) -> Any:
        """`[N]` (`[N, K]`): |f - sum R - absorbed| over the largest of |f|, sum |R|, sum
        |absorbed|. Raises InvalidInput without a ledger.
        """
        return self._like_output(self._kept_ledger("conservation_gap").gap())

    def totals(self) -> dict[str, Any]:
        """The ledger's column -> `[N]` (`[N, K]`). Raises InvalidInput without a ledger."""
        totals = self._kept_ledger("totals").totals()
        return {name: self._like_output(figure) for name, figure in totals.items()}

    def _like_output(self, figure: Tensor) -> Any:
        """numpy where the model's output is numpy."""
        return figure.numpy() if isinstance(self.output, np.ndarray) else figure

    def _kept_ledger(self, wanted: str) -> Ledger:
        if self.ledger is None:
            raise InvalidInput(
                f"method {self.method!r} shares no relevance, so it has no {wanted}; LRP does"
            )
        return self.ledger

    def heatmap(self, *, joint: bool = False, input: str | int | None = None) -> Any:
        """`[N, H, W]` for images (`[N, K, H, W]` for several targets), `[N, T]` for signals and
        tokens.

        Channels are pooled as the method asks. Each sample is scaled to [-1, 1] by its largest
        magnitude, or all by the largest of all with `joint` (thesis 2.62, fig. 2.7). `input` names
        one of several. Raises InvalidInput where it is needed, and where there is no picture.
        """
        from .viz.heatmap import pool_channels, scale

        if isinstance(self.output, np.ndarray):
            return self._pictures(joint)
        relevance = self._map(input).detach().cpu()
        if not self.grouped:
            return scale(pool_channels(relevance, self.pooling, classes=False), joint=joint)
        samples, targets = relevance.shape[:2]
        pooled = pool_channels(relevance.flatten(0, 1), self.pooling, classes=False)
        return scale(pooled.unflatten(0, (samples, targets)), joint=joint)

    def _pictures(self, joint: bool) -> Any:
        """Maps of pictures in numpy: one array, or a list where sizes differ."""
        from .viz.heatmap import scale

        maps = self.relevance
        wanted = 3 if self.grouped else 2
        if not isinstance(maps, list) or self.names is not None or maps[0].ndim != wanted:
            kind = "words" if isinstance(maps, list) else "the columns of a table"
            raise InvalidInput(
                f"this is relevance of {kind}, which are no picture: show it by "
                "relprop.viz.bar_figure or token_html, or, where columns are pixels, "
                "relprop.viz.scale(explanation.relevance.reshape(-1, height, width))"
            )
        if len({entry.shape for entry in maps}) == 1:
            return scale(np.stack(maps), joint=joint)
        largest = max(np.abs(entry).max() for entry in maps) if joint else None
        return [
            scale(entry[None])[0] if largest is None else entry / (largest or 1.0) for entry in maps
        ]

    def to_shap(self, data: Any = None) -> Any:
        """A `shap.Explanation` for shap's plots; `data` are the inputs, `[n, d]`.

        Its base values are all that belongs to no input, so that base + sum is the explained
        output. Raises ImportError without shap, InvalidInput for maps of several inputs.
        """
        from .classical.shap_export import to_shap

        return to_shap(self, data)

    def _map(self, name: str | int | None) -> Tensor:
        if isinstance(self.relevance, Tensor):
            if name is not None:
                raise InvalidInput(
                    f"there is a single input; heatmap(input={name!r}) names another"
                )
            return self.relevance
        entries = (
            dict(self.relevance)
            if isinstance(self.relevance, Mapping)
            else dict(enumerate(self.relevance))
        )
        present = {key: entry for key, entry in entries.items() if isinstance(entry, Tensor)}
        if name is None and len(present) == 1:
            return next(iter(present.values()))
        if name not in present:
            raise InvalidInput(
                "this explanation has maps of several inputs; choose one: heatmap(input=...), "
                "one of "
                f"{list(present)}"
            )
        return present[name]

    def save(self, path: str | Path) -> Path:
        """Write to `.npz`, or to `.safetensors` with a JSON beside it; returns the path."""
        from .saving import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read what `save` wrote. Raises InvalidInput for files that it did not write."""
        from .saving import load

        return load(Path(path))

    @property
    def conservation(self) -> str:
        """One line: output = relevance + bias + stabiliser + lost, averaged over samples."""
        if self.ledger is None:
            return "no ledger: this method does not share relevance operation by operation"
        totals = {name: float(figure.mean()) for name, figure in self.ledger.totals().items()}
        line = (
            f"output {totals['received']:.6g} = relevance {totals['passed']:.6g} + bias "
            f"{totals['bias']:.6g} "
            f"+ stabiliser {totals['stabiliser']:.6g}"
        )
        if totals["lost"]:
            line += f" + lost {totals['lost']:.6g}"
        return f"{line} (largest gap {float(self.conservation_gap.max()):.1e})"

    def _repr_html_(self) -> str:
        """Heatmaps and the conservation line, for a notebook."""
        from .viz.notebook import explanation_html

        return explanation_html(self)

    def __repr__(self) -> str:
        shapes = (
            tuple(self.relevance.shape)
            if hasattr(self.relevance, "shape")
            else type(self.relevance).__name__
        )
        return f"Explanation({self.method}, {self.preset}, relevance {shapes}: {self.conservation})"


def merged(parts: list[Explanation], weights: Tensor | None = None) -> Explanation:
    """Explanations of consecutive batches as one; `weights` where the target was that."""
    from torch.utils import _pytree as pytree

    def join(*pieces: Any) -> Any:
        return torch.cat(pieces) if isinstance(pieces[0], Tensor) else pieces[0]

    first = parts[0]
    targets = [part.target for part in parts]
    target: Any
    if weights is not None:
        target = weights
    elif isinstance(first.target, Tensor):
        target = torch.cat(targets)
    elif isinstance(first.target, list):
        target = [item for part in targets for item in part]
    else:
        target = first.target
    return Explanation(
        relevance=pytree.tree_map(join, *(part.relevance for part in parts)),
        output=torch.cat([part.output for part in parts]),
        target=target,
        method=first.method,
        preset=first.preset,
        layers=pytree.tree_map(join, *(part.layers for part in parts)),
        ledger=_joined([part.ledger for part in parts]),
        notes=first.notes,
        grouped=first.grouped,
        pooling=first.pooling,
        names=first.names,
    )


def _joined(ledgers: list[Ledger | None]) -> Ledger | None:
    kept = [ledger for ledger in ledgers if ledger is not None]
    return type(kept[0]).joined(kept) if kept else None
