"""The search for rules: presets by successive halving, then one group of layers after another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .comparing import heatmaps_by
from .errors import InvalidInput, InvalidRule
from .evaluation import region_perturbation
from .layer_groups import LayerGroup, Layout, with_rules
from .propagation.presets import Preset
from .propagation.rules import Rule

FACTOR = 3  # each rung has so many times more images and fewer candidates
FEWEST = 8  # images on the first rung
LAST = 2  # candidates that reach the last rung
ROUNDING = 1e-9  # smaller gains are none


@dataclass(frozen=True)
class Trial:
    """One preset or rule that was tried: in which stage, on how many images, with what result.

    `abpc` is the mean area between the curves over images and fills; NaN where it did not fit,
    and `reason` says why. `kept`: whether the search went on from it.
    """

    stage: str
    tried: str
    images: int
    abpc: float
    kept: bool = False
    reason: str = ""


@dataclass(eq=False)
class Areas:
    """The area between the LeRF and the MoRF curve for each image, by preset; each computed once.

    `scores`: images -> scores; `classes` `[N]` are explained and followed; `settings` go to
    `region_perturbation`; `folder` keeps finished curves.
    """

    model: Callable[..., Any]
    scores: Callable[[Tensor], Tensor]
    images: Tensor
    classes: Tensor
    layout: Layout
    fills: Sequence[str]
    settings: Mapping[str, Any]
    folder: Path | None
    _known: dict[str, Tensor] = field(default_factory=dict)

    def of(self, preset: Preset, images: int) -> Tensor:
        """`[fills, images]` of the first so many images. Raises InvalidRule where the preset does
        not fit.
        """
        key = self.layout.key(preset)
        known = self._known.get(key, torch.empty(len(self.fills), 0, dtype=torch.float64))
        begin = known.shape[1]
        if begin < images:
            more = self._areas(preset, key, slice(begin, images))
            known = self._known[key] = torch.cat([known, more], 1)
        return known[:, :images]

    def _areas(self, preset: Preset, key: str, part: slice) -> Tensor:
        images, classes = self.images[part], self.classes[part]
        explain, size = heatmaps_by(self.model, preset), self.settings["batch_size"]
        pairs = zip(images.split(size), classes.split(size), strict=True)
        heatmaps = torch.cat([explain(*pair) for pair in pairs])
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:12]}-{part.start:05d}"

        def drops(fill: str, order: str) -> Tensor:
            where = None if self.folder is None else self.folder / f"{name}-{fill}-{order}"
            return region_perturbation(
                *(self.scores, images, heatmaps),
                **self.settings,
                target=classes,
                fill=fill,
                order=order,
                resume=where,
            ).per_image

        return torch.stack([drops(fill, "morf") - drops(fill, "lerf") for fill in self.fills])


class Search:
    """Looks for the preset with the largest mean area; what it tried is in `trials`."""

    def __init__(
        self,
        areas: Areas,
        groups: Sequence[LayerGroup],
        *,
        seed: int,
        count: Callable[[int], object] = lambda trials: None,
    ) -> None:
        self._areas, self._groups, self._count = areas, groups, count
        self._generator = torch.Generator().manual_seed(seed)
        self._rungs = rungs(len(areas.images))
        self.trials: list[Trial] = []

    def best(self, presets: Sequence[Preset], *, starts: int, rounds: int) -> tuple[Preset, Preset]:
        """The best preset found from the best `starts` of those given, and the best of those."""
        left = self._halved("presets", {preset.name: preset for preset in presets}, starts)
        found = [self._descend(start, rounds) for start in left.values()]
        return max(found, key=self._mean), next(iter(left.values()))

    def _descend(self, start: Preset, rounds: int) -> Preset:
        """One group after another gets the rule that is best beside the others' rules."""
        chosen: dict[LayerGroup, Rule] = {}
        for number in range(rounds):
            before = dict(chosen)
            order = torch.randperm(len(self._groups), generator=self._generator).tolist()
            for group in (self._groups[i] for i in order):
                stage = f"{start.name}, round {number + 1}: {group.name}"
                chosen = self._improved(stage, start, chosen, group)
            if chosen == before:
                break
        return with_rules(start, chosen)

    def _improved(
        self, stage: str, start: Preset, chosen: dict[LayerGroup, Rule], group: LayerGroup
    ) -> dict[LayerGroup, Rule]:
        options = {str(rule): {**chosen, group: rule} for rule in group.candidates}
        presets = {rule: with_rules(start, option) for rule, option in options.items()}
        now = self._mean(with_rules(start, chosen))
        for rule in self._halved(stage, presets, 1, above=now + ROUNDING):
            return options[rule]
        return chosen

    def _halved(
        self, stage: str, presets: Mapping[str, Preset], keep: int, above: float = -math.inf
    ) -> dict[str, Preset]:
        """The best `keep` of them that reach the last rung and are better than `above` there."""
        left, trials = dict(presets), dict[str, Trial]()
        for rung, images in enumerate(self._rungs):
            for label, preset in left.items():
                trials[label] = self._trial(stage, label, preset, images)
            able = [label for label in left if not trials[label].reason]
            able.sort(key=lambda label: -trials[label].abpc)
            last = rung + 1 == len(self._rungs)
            share = (
                keep if last else max(math.ceil(len(presets) / FACTOR ** (rung + 1)), LAST, keep)
            )
            left = {label: presets[label] for label in able[:share]}
        left = {label: preset for label, preset in left.items() if trials[label].abpc > above}
        self.trials += [replace(trial, kept=label in left) for label, trial in trials.items()]
        self._count(len(trials))
        return left

    def _trial(self, stage: str, label: str, preset: Preset, images: int) -> Trial:
        try:
            found = self._areas.of(preset, images)
        except (InvalidRule, InvalidInput) as error:  # Box without bounds, and the like
            return Trial(stage, label, images, math.nan, reason=str(error))
        return Trial(stage, label, images, float(found.mean()))

    def _mean(self, preset: Preset) -> float:
        return float(self._areas.of(preset, self._rungs[-1]).mean())


def rungs(images: int) -> list[int]:
    """How many images candidates are tried on, from all of them down to few: ascending."""
    found = [images]
    while len(found) < 3 and found[0] // FACTOR >= FEWEST:
        found.insert(0, found[0] // FACTOR)
    return found
