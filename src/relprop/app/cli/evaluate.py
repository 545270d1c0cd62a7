"""`relprop evaluate`: methods compared by region perturbation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop import Preset
from relprop.app.cli.options import (
    ChannelOrder,
    Images,
    Mean,
    Model,
    PreprocessingFile,
    RandomWeights,
    Scale,
    Size,
    Std,
    Weights,
    preprocessing_options,
)
from relprop.app.evaluating import read_data, write_all
from relprop.app.images import preprocessing_from
from relprop.app.model_source import load_model
from relprop.comparing import FILLS
from relprop.comparing import evaluate as compare
from relprop.errors import InvalidInput

_METHODS = "lrp,sensitivity,gradient-x-input,deconvolution,guided-backprop"


def evaluate(
    model: Model,
    data: Images,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    methods: Annotated[
        str, typer.Option(help="Names with commas between: lrp:thesis,lrp:own.json,sensitivity,...")
    ] = _METHODS,
    limit: Annotated[int | None, typer.Option(help="The first so many images.")] = None,
    region: Annotated[int, typer.Option(help="Pixels along a side of a region.")] = 9,
    steps: Annotated[
        int | None, typer.Option(help="Regions that are replaced; by default 100, or all.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often, with fresh noise.")] = 10,
    fills: Annotated[str, typer.Option(help="What regions are replaced by.")] = ",".join(FILLS),
    output: Annotated[str, typer.Option(help="logit or probability.")] = "logit",
    batch_size: Annotated[int, typer.Option(help="Images that the model sees at once.")] = 256,
    seed: Annotated[int, typer.Option(help="Of all noise.")] = 0,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("relprop-evaluation"),
    preprocessing: PreprocessingFile = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    channel_order: ChannelOrder = None,
    scale: Scale = None,
) -> None:
    """Compare methods on images: a table (CSV, Parquet), curves (PNG, SVG) and a report.

    What is finished is kept in the folder: after an interruption, the same command goes on.
    """
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out: {out} is a file; name a folder to write to")
    compared = {name: _method(name) for name in map(str.strip, methods.split(",")) if name}
    network = load_model(model, weights=weights, random_weights=random_weights)
    given = preprocessing_options(size, mean, std, channel_order, scale)
    asked = preprocessing is not None or any(option is not None for option in given.values())
    prepare = preprocessing_from(network, file=preprocessing, options=given) if asked else None
    images = read_data(data, network, limit=limit, preprocessing=prepare)
    comparison = compare(
        network,
        images,
        compared,
        region=region,
        steps=steps,
        repeats=repeats,
        fills=[fill.strip() for fill in fills.split(",") if fill.strip()],
        output=output,
        batch_size=batch_size,
        seed=seed,
        resume=out / "pieces",
        progress=True,
    )
    print(comparison)
    for line in write_all(comparison, images, out, title=f"{model}: methods compared"):
        print(line)


def _method(name: str) -> str | Preset:
    """A method by its name, or LRP by the preset in a .json file."""
    kind, _, file = name.partition(":")
    return Preset.load(file) if kind == "lrp" and file.endswith(".json") else name
