"""Options that more than one subcommand has, and the texts that they are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import relprop
from relprop.app.evaluating import DATA_SETS
from relprop.errors import UnknownName

Model = Annotated[
    str,
    typer.Option(
        help="A shipped model's name, package.module:factory, or a .pt2 file.", show_default=False
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A state dict: .safetensors, or a torch file of nothing but tensors."),
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="Random weights, to try an architecture.")
]
Rules = Annotated[
    str | None,
    typer.Option(
        help="A preset, see `relprop rules`, or a preset file; by default as fits the model."
    ),
]
FlatUntil = Annotated[
    str | None, typer.Option(help="The layer up to which relevance is shared evenly.")
]
Images = Annotated[
    list[str],
    typer.Option(
        help=f"{' or '.join(DATA_SETS)} (their test images), or images and folders of them; "
        "may be repeated.",
        show_default=False,
    ),
]
PreprocessingFile = Annotated[
    Path | None,
    typer.Option(help="A YAML file with size, mean, std, channel_order, scale, crop, ..."),
]
Size = Annotated[str | None, typer.Option(help="HEIGHT,WIDTH of the model's input.")]
Mean = Annotated[str | None, typer.Option(help="Subtracted, a number a channel.")]
Std = Annotated[str | None, typer.Option(help="Divided by, a number a channel.")]
ChannelOrder = Annotated[str | None, typer.Option(help="RGB, BGR, or L for grey.")]
Scale = Annotated[int | None, typer.Option(help="White before the mean: 1 or 255.")]


def chosen_preset(text: str | None) -> relprop.Preset | None:
    """The preset of that name or in that .json file; None where none was asked for.

    Raises UnknownName, and what `Preset.load` does.
    """
    if text is None:
        return None
    if text.endswith(".json"):
        return relprop.Preset.load(text)
    if text not in relprop.presets():
        raise UnknownName("preset", text, relprop.presets())
    return relprop.presets()[text]


def sides(text: str | None) -> list[int] | None:
    """HEIGHT,WIDTH, or one number for both; typer's BadParameter where it is neither."""
    if text is None:
        return None
    found = whole_numbers(text, "--size", example="224,224")
    if len(found) > 2:
        raise typer.BadParameter(f"--size {text}: give HEIGHT,WIDTH, such as 224,224")
    return (found * 2)[:2]


def whole_numbers(text: str, option: str, *, example: str) -> list[int]:
    """Whole numbers with commas between; typer's BadParameter where they are none."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"{option} {text}: give whole numbers, such as {example}")
    return [int(part) for part in parts]


def numbers(text: str | None, option: str) -> list[float] | None:
    """Numbers with commas between; typer's BadParameter where they are none."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text}: give numbers, such as 0.5,0.5,0.5") from error


def preprocessing_options(
    size: str | None,
    mean: str | None,
    std: str | None,
    channel_order: str | None,
    scale: int | None,
) -> dict[str, Any]:
    """The options as `Preprocessing.from_dict` takes them; None where they were not given."""
    return {
        "size": sides(size),
        "mean": numbers(mean, "--mean"),
        "std": numbers(std, "--std"),
        "channel_order": channel_order,
        "scale": scale,
    }
