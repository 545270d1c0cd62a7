"""Layer groups: the parts of a network that get one rule each while rules are searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .errors import InvalidRule, UnknownName
from .explainer import network_of
from .propagation.lrp import Options, plan_recording
from .propagation.plan import Plan
from .propagation.positions import WEIGHTED
from .propagation.presets import Preset, Where, where
from .propagation.record import record
from .propagation.rules import AlphaBeta, Box, Epsilon, Flat, Gamma, Rule, WSquare

KINDS = ("input", "convolution", "dense")
_INSIDE: tuple[Rule, ...] = (
    *(Epsilon(size) for size in (1e-6, 0.01, 1.0)),
    *(Epsilon(size, relative=True) for size in (0.1, 0.25, 1.0)),
    *(Gamma(size) for size in (0.1, 0.25, 1.0)),
    *(AlphaBeta(1, 0), AlphaBeta(2, -1)),
)
CANDIDATES: Mapping[str, Sequence[Rule]] = {
    "input": (Flat(), WSquare(), Box(), *_INSIDE),
    "convolution": _INSIDE,
    "dense": _INSIDE,
}
_THIRDS = {
    1: ("convolutions",),
    2: ("lower convolutions", "upper convolutions"),
    3: ("lower convolutions", "middle convolutions", "upper convolutions"),
}


@dataclass(frozen=True)
class LayerGroup:
    """Layers that get the same rule: where they are, and the rules that are tried there."""

    name: str
    predicate: Where
    candidates: tuple[Rule, ...] = field(compare=False)


class Layout:
    """A network as presets see it: its plan for one image, its groups of layers."""

    def __init__(self, model: Callable[..., Any], image: Tensor) -> None:
        """`image` is `[1, C, H, W]`, and run once."""
        self._recording = record(network_of(model), image, layers=())
        plan, self.default = plan_recording(self._recording, Options())
        weighted = [step.site for step in plan.steps if step.site.kind in WEIGHTED]
        self._first = any(site.first for site in weighted)
        self._dense = any(site.kind == "dense" and not site.first for site in weighted)
        self._depths = sorted(
            {site.depth for site in weighted if site.kind == "convolution" and not site.first}
        )

    def groups(self, candidates: Mapping[str, Sequence[Rule]] | None = None) -> list[LayerGroup]:
        """The groups that the network has: what reads the input, the other convolutions in thirds
        by their depth, and the other dense layers.

        `candidates`: the rules to try at "input", "convolution" and "dense"; what is missing there
        is left as it is. Raises UnknownName and InvalidRule for others.
        """
        tried = CANDIDATES if candidates is None else _checked(candidates)
        found = []
        if self._first:
            predicate = where(kind=WEIGHTED, first=True)
            found.append(LayerGroup("input", predicate, tuple(tried.get("input", ()))))
        rules = tuple(tried.get("convolution", ()))
        for name, depth in self._thirds():
            predicate = where(kind="convolution", first=False, depth=depth)
            found.append(LayerGroup(name, predicate, rules))
        if self._dense:
            predicate = where(kind="dense", first=False)
            found.append(LayerGroup("dense layers", predicate, tuple(tried.get("dense", ()))))
        return [group for group in found if group.candidates]

    def _thirds(self) -> list[tuple[str, tuple[float, float]]]:
        """Names and depths; boundaries lie halfway between layers."""
        depths = self._depths
        parts = min(3, len(depths))
        if not parts:
            return []
        starts = [len(depths) * part // parts for part in range(1, parts)]
        ends = [round((depths[i - 1] + depths[i]) / 2, 4) for i in starts]
        bounds = [0.0, *ends, 1.0]
        return list(zip(_THIRDS[parts], zip(bounds, bounds[1:], strict=False), strict=True))

    def plan(self, preset: Preset) -> Plan:
        """What the preset comes to. Raises InvalidRule where it does not fit the network."""
        return plan_recording(self._recording, Options(preset))[0]

    def key(self, preset: Preset) -> str:
        """The same for presets that give every operation the same rule."""
        return "; ".join(repr(step.rule) for step in self.plan(preset).steps)

    def trimmed(self, preset: Preset) -> Preset:
        """The preset without the entries that decide nothing in this network."""
        deciding = set()
        for step in self.plan(preset).steps:
            matching = (i for i, entry in enumerate(preset.entries) if entry[0](step.site))
            index = next(matching, None)
            if index is not None and step.family.takes(preset.entries[index][1]):
                deciding.add(index)
        entries = [entry for i, entry in enumerate(preset.entries) if i in deciding]
        return Preset(entries, name=preset.name, description=preset.description)


def with_rules(base: Preset, chosen: Mapping[LayerGroup, Rule]) -> Preset:
    """The preset with other rules in some groups."""
    entries = [(group.predicate, rule) for group, rule in chosen.items()]
    return Preset([*entries, *base.entries], name=base.name)


def _checked(candidates: Mapping[str, Sequence[Rule]]) -> Mapping[str, Sequence[Rule]]:
    for kind, rules in candidates.items():
        if kind not in KINDS:
            raise UnknownName("group of layers", kind, KINDS)
        for rule in rules:
            if not isinstance(rule, Rule):
                raise InvalidRule(f"candidates of {kind!r} must be rules, got {rule!r}")
    return candidates
