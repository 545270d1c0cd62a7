"""Presets that are tried beside the built-in ones by studies/default_presets.py."""

from __future__ import annotations

from relprop import AlphaBeta, Box, Epsilon, Flat, Gamma, Preset, WSquare, where
from relprop.propagation.rules import Rule

ABSOLUTE = Epsilon(0.01)
SMALL, LARGE = Epsilon(relative=True), Epsilon(0.25, relative=True)
WEIGHTED = ("dense", "convolution")
DEPTHS = ((0.0, 0.33), (0.33, 0.67), (0.67, 1.0))


def by_kind(name: str, dense: Rule, convolution: Rule, first: Rule | None = None) -> Preset:
    """A rule for dense layers, one for convolutions, and one for the first layer (None: as is)."""
    entries = [(where(kind="dense"), dense), (where(kind="convolution"), convolution)]
    return Preset(_first(first) + entries, name=name)


def by_depth(name: str, rules: tuple[Rule, Rule, Rule], first: Rule | None = None) -> Preset:
    """Rules for the lower, middle and upper third of dense layers and convolutions."""
    thirds = zip(DEPTHS, rules, strict=True)
    entries = [(where(kind=WEIGHTED, depth=depth), rule) for depth, rule in thirds]
    return Preset(_first(first) + entries, name=name)


def montavon2019(name: str, first: Rule | None) -> Preset:
    """The built-in preset's rules by depth, with another rule at the first layer."""
    entries = [
        (where(kind=WEIGHTED, depth=(0, 0.45)), Gamma(0.25)),
        (where(kind=WEIGHTED, depth=(0, 0.85)), LARGE),
        (where(kind=WEIGHTED), Epsilon(0)),
    ]
    return Preset(_first(first) + entries, name=name)


def _first(rule: Rule | None) -> list:
    return [] if rule is None else [(where(first=True), rule)]


CANDIDATES = {
    preset.name: preset
    for preset in (
        # What is wrong with the thesis's rules? One change at a time.
        by_kind("thesis, first as below", ABSOLUTE, AlphaBeta(2, -1)),
        by_kind("thesis, Box first", ABSOLUTE, AlphaBeta(2, -1), Box()),
        by_kind("thesis, Epsilon relative", LARGE, AlphaBeta(2, -1), Flat()),
        by_kind("thesis-alpha1, first as below", ABSOLUTE, AlphaBeta(1, 0)),
        # Gamma: how much of it, and what below.
        by_kind("Gamma 0.25", SMALL, Gamma(0.25)),
        by_kind("Gamma 0.25, WSquare first", SMALL, Gamma(0.25), WSquare()),
        by_kind("Gamma 0.1, Flat first", SMALL, Gamma(0.1), Flat()),
        by_kind("Gamma 1, Flat first", SMALL, Gamma(1), Flat()),
        by_kind("Gamma 0.25, Epsilon 0.25, Flat first", LARGE, Gamma(0.25), Flat()),
        by_kind("Gamma 0.25, Epsilon 0.25, Box first", LARGE, Gamma(0.25), Box()),
        by_depth("Gamma 1, 0.25, 0.1, Flat first", (Gamma(1), Gamma(0.25), Gamma(0.1)), Flat()),
        Preset(
            [
                (where(first=True), Flat()),
                (where(kind="dense"), SMALL),
                (where(kind=("convolution", "merge", "pooling")), Gamma(0.25)),
            ],
            name="Gamma 0.25, merges too, Flat first",
        ),
        # Epsilon, relative to the layer, and the built-in mixture by depth.
        by_kind("Epsilon 0.25, Flat first", LARGE, LARGE, Flat()),
        by_kind("Epsilon 0.25, Box first", LARGE, LARGE, Box()),
        montavon2019("montavon2019, first as below", None),
        montavon2019("montavon2019, Flat first", Flat()),
    )
}
