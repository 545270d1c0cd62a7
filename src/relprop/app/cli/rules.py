"""`relprop rules`: what `--rules` takes."""

from __future__ import annotations

import inspect

import relprop


def rules() -> None:
    """List the presets that --rules takes, and the rules that they are made of."""
    presets = {name: preset.description for name, preset in relprop.presets().items()}
    found = {name: _summary(rule) for name, rule in _rules().items()}
    width = max(map(len, [*presets, *found]))
    print("Presets, for --rules:")
    for name, text in presets.items():
        print(f"  {name:{width}}  {text}")
    print("\nRules, for presets of your own (relprop.Preset in Python):")
    for name, text in found.items():
        print(f"  {name:{width}}  {text}")


def _rules() -> dict[str, type]:
    public = {name: getattr(relprop, name) for name in relprop.__all__}
    return {
        name: value
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, relprop.Rule) and value is not relprop.Rule
    }


def _summary(documented: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())
