"""Which rule where: presets are data, a list of predicates with rules of which the first match
wins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import InvalidRule, UnknownName
from .operations.registry import KINDS
from .rules import AlphaBeta, Box, Epsilon, Flat, Gamma, Rule, WSquare, ZPlus


@dataclass(frozen=True)
class Site:
    """Where an operation stands: what predicates look at."""

    kind: str
    module: str
    first: bool
    last: bool
    depth: float


@dataclass(frozen=True)
class Where:
    """A predicate over operations; made by `where`."""

    kinds: tuple[str, ...] | None = None
    module: str | None = None
    first: bool | None = None
    last: bool | None = None
    depth: tuple[float, float] | None = None

    def __call__(self, site: Site) -> bool:
        return (
            (self.kinds is None or site.kind in self.kinds)
            and (self.module is None or fnmatchcase(site.module, self.module))
            and (self.first is None or site.first == self.first)
            and (self.last is None or site.last == self.last)
            and (self.depth is None or self.depth[0] <= site.depth <= self.depth[1])
        )


def where(
    *,
    kind: str | Sequence[str] | None = None,
    module: str | None = None,
    first: bool | None = None,
    last: bool | None = None,
    depth: tuple[float, float] | None = None,
) -> Where:
    """A predicate for presets; what is not given matches anything.

    `kind`: one of dense, convolution, pooling, merge, normalisation, product, softmax, activation,
    movement, embedding, or several. `module`: a pattern such as "features.1*". `first`: no dense
    layer or convolution stands between it and an input; `last`: none between it and the output.
    `depth`: from 0 (first) to 1 (last), counted in dense layers and convolutions. Raises
    UnknownName, InvalidRule.
    """
    if kind is not None and not isinstance(kind, (str, tuple, list)):
        raise InvalidRule(
            f"where: kind must be one of {', '.join(KINDS)}, or several, got {kind!r}"
        )
    kinds = (kind,) if isinstance(kind, str) else None if kind is None else tuple(kind)
    if module is not None and not isinstance(module, str):
        raise InvalidRule(f"where: module must be a pattern such as 'features.1*', got {module!r}")
    for given, flag in (("first", first), ("last", last)):
        if flag is not None and not isinstance(flag, bool):
            raise InvalidRule(f"where: {given} must be True or False, got {flag!r}")
    for name in kinds or ():
        if name not in KINDS:
            raise UnknownName("kind of operation", name, KINDS)
    if depth is not None and not _is_interval(depth):
        raise InvalidRule(f"where: depth must be (low, high) within 0..1, got {depth}")
    return Where(kinds, module, first, last, None if depth is None else (depth[0], depth[1]))


def _is_interval(depth: object) -> bool:
    pair = isinstance(depth, (tuple, list)) and len(depth) == 2
    numbers = pair and all(isinstance(end, (int, float)) for end in depth)  # type: ignore[attr-defined]
    return numbers and 0 <= depth[0] <= depth[1] <= 1  # type: ignore[index]


class Preset:
    """Rules by predicate: `Preset([(where(kind="dense"), Epsilon(0.01)), ...], name="mine")`.

    Where no predicate matches, the defaults hold: Epsilon(1e-6) for what is linear, and each
    family's own rule elsewhere. Raises InvalidRule for entries that are not (where(...), rule).
    """

    def __init__(
        self, entries: Iterable[tuple[Where, Rule]], *, name: str = "custom", description: str = ""
    ) -> None:
        if not isinstance(entries, Iterable):
            raise InvalidRule(
                f"preset {name!r}: give a list of (where(...), rule), got {entries!r}"
            )
        self.entries = tuple(entries)
        self.name, self.description = name, description
        for entry in self.entries:
            valid = isinstance(entry, tuple) and len(entry) == 2
            if not (valid and callable(entry[0]) and isinstance(entry[1], Rule)):
                raise InvalidRule(
                    f"preset {name!r}: entries are (where(...), rule) pairs, got {entry!r}"
                )

    def rule_for(self, site: Site) -> Rule | None:
        """The first match, or None."""
        return next((rule for matches, rule in self.entries if matches(site)), None)

    def with_bias(self, mode: str) -> Preset:
        """The same preset with another treatment of biases."""
        entries = [(matches, replace(rule, bias=mode)) for matches, rule in self.entries]
        return Preset(entries, name=self.name, description=self.description)

    def save(self, path: str | Path) -> Path:
        """Write to a .json file, which `load` and `--rules` on the command line read.

        Raises InvalidInput for another suffix, InvalidRule where a rule or a predicate is code of
        your own.
        """
        from .preset_files import write_preset

        return write_preset(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Preset:
        """Read what `save` wrote, or what was written by hand.

        Raises InvalidInput for files that are missing or no JSON, InvalidRule, which names the
        entry, for unknown rules and predicates and for parameters that do not fit.
        """
        from .preset_files import read_preset

        return read_preset(path)

    def __repr__(self) -> str:
        return f"Preset({self.name!r}: {'; '.join(f'{_shown(w)}: {r}' for w, r in self.entries)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preset) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.name)


def _shown(predicate: Where) -> str:
    given = {k: v for k, v in vars(predicate).items() if v is not None} if predicate else {}
    return (
        ", ".join(f"{key}={'/'.join(v) if key == 'kinds' else v}" for key, v in given.items())
        or "all"
    )


def _throughout(name: str, rule: Rule, description: str) -> Preset:
    return Preset([(where(), rule)], name=name, description=description)


DENSE, CONVOLUTION = where(kind="dense"), where(kind="convolution")
FIRST = where(first=True)  # behind DENSE where it is Flat: all pixels of a dense layer are alike

PRESETS = {
    preset.name: preset
    for preset in (
        _throughout("z", Epsilon(0), "the plain z-rule throughout (thesis 2.10)"),
        _throughout("epsilon", Epsilon(), "Epsilon(1e-6) throughout (thesis 2.22)"),
        _throughout(
            "alpha1beta0", AlphaBeta(1, 0), "AlphaBeta(1, 0) throughout: only what excites"
        ),
        _throughout("alpha2beta1", AlphaBeta(2, -1), "AlphaBeta(2, -1) throughout"),
        Preset(
            [(DENSE, Epsilon(0.01)), (FIRST, Flat()), (CONVOLUTION, AlphaBeta(2, -1))],
            name="thesis",
            description="Epsilon(0.01) dense, AlphaBeta(2, -1) convolutions, the first one Flat "
            "(thesis 5.4, 6.3)",
        ),
        Preset(
            [(DENSE, Epsilon(0.01)), (FIRST, Flat()), (CONVOLUTION, AlphaBeta(1, 0))],
            name="thesis-alpha1",
            description="thesis with AlphaBeta(1, 0)",
        ),
        _throughout(
            "thesis-ch4", AlphaBeta(2, -1), "AlphaBeta(2, -1) throughout (thesis chapters 3 and 4)"
        ),
        Preset(
            [(DENSE, Epsilon(relative=True)), (FIRST, Flat()), (CONVOLUTION, Gamma(0.25))],
            name="epsilon-gamma-flat",
            description="Epsilon(relative) dense, Gamma(0.25) convolutions, the first Flat",
        ),
        Preset(
            [
                (where(kind="dense", first=True), Gamma(1)),
                (FIRST, Flat()),
                (where(kind=("dense", "convolution"), depth=(0, 0.33)), Gamma(1)),
                (where(kind=("dense", "convolution"), depth=(0.33, 0.67)), Gamma(0.25)),
                (where(kind=("dense", "convolution")), Gamma(0.1)),
            ],
            name="graded-gamma",
            description="Gamma(1), 0.25 and 0.1 from the bottom third to the top, the first "
            "convolution Flat; for residual and GELU networks (docs/studies/default-presets.md)",
        ),
        Preset(
            [
                (FIRST, Box()),
                (where(kind=("dense", "convolution"), depth=(0, 0.45)), Gamma(0.25)),
                (
                    where(kind=("dense", "convolution"), depth=(0, 0.85)),
                    Epsilon(0.25, relative=True),
                ),
                (where(kind=("dense", "convolution")), Epsilon(0)),
            ],
            name="montavon2019",
            description="Epsilon(0) at the top, Epsilon(0.25, relative) in the middle, "
            "Gamma(0.25) below, "
            "Box at the input (Montavon et al. 2019)",
        ),
        Preset(
            [(FIRST, Box()), (DENSE, Epsilon()), (CONVOLUTION, Gamma(0.25))],
            name="epsilon-gamma-box",
            description="Epsilon dense, Gamma(0.25) convolutions, Box first",
        ),
        Preset(
            [(FIRST, WSquare()), (where(), ZPlus())],
            name="deep-taylor",
            description="ZPlus inside, WSquare at the input (Montavon et al. 2017)",
        ),
    )
}


def presets() -> dict[str, Preset]:
    """The presets that ship, by name."""
    return dict(PRESETS)


def as_preset(rules: str | Rule | Preset) -> Preset:
    """A preset from its name, from a single rule for everything, or as it is."""
    if isinstance(rules, Preset):
        return rules
    if isinstance(rules, Rule):
        return _throughout(str(rules), rules, "one rule throughout")
    if isinstance(rules, str):
        if rules not in PRESETS:
            raise UnknownName("preset", rules, PRESETS)
        return PRESETS[rules]
    raise InvalidRule(f"rules must be the name of a preset, a rule or a Preset, got {rules!r}")
