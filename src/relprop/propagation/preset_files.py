"""Preset files: a preset as JSON that people can read, write and compare."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput, InvalidRule, RelpropError, UnknownName
from .presets import Preset, Where, where
from .rules import (
    AlphaBeta,
    Box,
    Constant,
    Epsilon,
    Flat,
    Gamma,
    Magnitude,
    Pass,
    Rule,
    WSquare,
    ZPlus,
)

FORMAT = "relprop-preset-1"
RULES: dict[str, type[Rule]] = {
    rule.__name__: rule
    for rule in (
        *(Epsilon, AlphaBeta, ZPlus, Gamma, Flat),
        *(WSquare, Box, Magnitude, Pass, Constant),
    )
}
_PREDICATES = ("kind", "module", "first", "last", "depth")


def write_preset(preset: Preset, path: str | Path) -> Path:
    """Write a preset to a .json file.

    Raises what `as_text` does, and InvalidInput for another suffix.
    """
    path = _checked(path)
    path.write_text(as_text(preset), encoding="utf-8")
    return path


def read_preset(path: str | Path) -> Preset:
    """Read a preset from a .json file.

    Raises InvalidInput for files that are missing or no JSON, InvalidRule for what no preset can
    hold: the message names the entry, counted from 1.
    """
    path = _checked(path)
    try:
        return from_text(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InvalidInput(f"there is no preset file {path}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidRule):
            raise InvalidRule(f"{path}: {error}") from error
        raise InvalidInput(f"{path} is not JSON: {error}") from error


def as_text(preset: Preset) -> str:
    """A preset as JSON, an entry a line.

    Raises InvalidRule for rules and predicates that are not relprop's own: a file can't hold code.
    """
    entries = [
        json.dumps(_described(preset, number, matches, rule))
        for number, (matches, rule) in enumerate(preset.entries, start=1)
    ]
    head = {"format": FORMAT, "name": preset.name, "description": preset.description}
    lines = [f"  {json.dumps(key)}: {json.dumps(text)}," for key, text in head.items()]
    inner = ",\n".join(f"    {entry}" for entry in entries)
    return "\n".join(["{", *lines, '  "entries": [', *([inner] if inner else []), "  ]", "}\n"])


def from_text(text: str) -> Preset:
    """The inverse of `as_text`. Raises ValueError for what is no JSON, InvalidRule for the rest."""
    content = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    if not isinstance(content, dict) or "format" not in content:
        raise InvalidRule(f'this is no preset: it must be an object with "format": "{FORMAT}"')
    if content["format"] != FORMAT:
        raise InvalidRule(
            f"the format is {content['format']!r}, and this version of relprop reads {FORMAT!r}; "
            "a newer version may read it"
        )
    _check_keys("a preset", content, ("format", "name", "entries"), ("description",))
    name, description = content["name"], content.get("description", "")
    if not (isinstance(name, str) and name and isinstance(description, str)):
        raise InvalidRule("name must be a text that is not empty, and description a text")
    if not isinstance(content["entries"], list):
        raise InvalidRule(f"entries must be a list, got {content['entries']!r}")
    entries = []
    for number, entry in enumerate(content["entries"], start=1):
        try:
            entries.append(_entry(entry))
        except RelpropError as error:
            raise InvalidRule(f"entry {number} of preset {name!r}: {error}") from error
    return Preset(entries, name=name, description=description)


def _described(preset: Preset, number: int, matches: Any, rule: Rule) -> dict[str, Any]:
    place = f"entry {number} of preset {preset.name!r}"
    remedy = "a file can't hold code, so build this preset in Python, or use"
    if type(matches) is not Where:
        shown = getattr(matches, "__qualname__", repr(matches))
        raise InvalidRule(
            f"{place}: the predicate {shown} is not made by relprop.where; {remedy} where(...)"
        )
    if RULES.get(type(rule).__name__) is not type(rule):
        raise InvalidRule(
            f"{place}: the rule {type(rule).__qualname__} is not one of relprop's; {remedy} one of "
            f"{', '.join(RULES)}"
        )
    entry = {"where": _predicates(matches), "rule": type(rule).__name__}
    parameters = _parameters(rule)
    return entry | ({"parameters": parameters} if parameters else {})


def _predicates(matches: Where) -> dict[str, Any]:
    kinds = matches.kinds
    kind = kinds[0] if kinds is not None and len(kinds) == 1 else kinds
    given = (kind, matches.module, matches.first, matches.last, matches.depth)
    return {k: v for k, v in zip(_PREDICATES, given, strict=True) if v is not None}


def _parameters(rule: Rule) -> dict[str, Any]:
    """All but switches that are as they are by default."""
    given = {f.name: (f, getattr(rule, f.name)) for f in fields(rule)}
    return {
        name: _plain(value)
        for name, (f, value) in given.items()
        if value is not None and not (f.kw_only and f.default is not MISSING and value == f.default)
    }


def _plain(value: Any) -> Any:
    """The bounds of Box can be tensors, arrays or sequences."""
    if isinstance(value, (bool, int, float, str)):
        return value
    return value.tolist() if hasattr(value, "tolist") else np.asarray(value).tolist()


def _entry(entry: Any) -> tuple[Where, Rule]:
    if not isinstance(entry, dict):
        raise InvalidRule(f"it must be an object with where and rule, got {entry!r}")
    _check_keys("an entry", entry, ("where", "rule"), ("parameters",))
    predicates, parameters = entry["where"], entry.get("parameters", {})
    for name, given in (("where", predicates), ("parameters", parameters)):
        if not isinstance(given, dict):
            raise InvalidRule(f"{name} must be an object, got {given!r}")
    _check_keys("where", predicates, (), _PREDICATES)
    return where(**predicates), _rule(entry["rule"], parameters)


def _rule(name: Any, parameters: dict[str, Any]) -> Rule:
    if not isinstance(name, str) or name not in RULES:
        raise UnknownName("rule", name, RULES)
    kind: Any = RULES[name]
    _check_keys(name, parameters, (), tuple(f.name for f in fields(kind)))
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()})


def _check_keys(
    what: str, given: dict[str, Any], needed: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    for key in needed:
        if key not in given:
            raise InvalidRule(f"{what} needs {key!r}")
    for key in given:
        if key not in (*needed, *optional):
            raise InvalidRule(f"{what} has no {key!r}; it takes {', '.join((*needed, *optional))}")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidRule(f"{twice!r} stands twice in one object: only one of them can hold")
    return found


def _no_constant(name: str) -> Any:
    raise InvalidRule(f"{name} is not a number that a rule can take")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".json":
        raise InvalidInput(f"presets are kept in .json files, got {path.name!r}")
    return path
