"""`relprop tune`: rules searched for a model, and kept in a preset file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from relprop.app.evaluating import read_data
from relprop.app.images import preprocessing_from
from relprop.app.model_source import load_model
from relprop.comparing import FILLS
from relprop.errors import InvalidInput
from relprop.propagation.presets import presets
from relprop.tuning import tune as search


def tune(
    model: Model,
    data: Images,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    limit: Annotated[int, typer.Option(help="The first so many images.")] = 400,
    held_back: Annotated[
        float, typer.Option(help="Images that are not searched on; below 1, their share.")
    ] = 0.5,
    region: Annotated[int, typer.Option(help="Pixels along a side of a region.")] = 9,
    steps: Annotated[
        int | None, typer.Option(help="How often is replaced; by default 100 times, or to the end.")
    ] = None,
    per_step: Annotated[int, typer.Option(help="Regions that are replaced at once.")] = 1,
    repeats: Annotated[int, typer.Option(help="How often, with fresh noise.")] = 1,
    fills: Annotated[str, typer.Option(help="What regions are replaced by.")] = ",".join(FILLS),
    starts: Annotated[int, typer.Option(help="Presets that the search goes on from.")] = 2,
    rounds: Annotated[int, typer.Option(help="How often through all groups of layers.")] = 2,
    batch_size: Annotated[int, typer.Option(help="Images that the model sees at once.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the split, the search and all noise.")] = 0,
    out: Annotated[Path, typer.Option(help="The preset file to write.")] = Path("preset.json"),
    resume: Annotated[
        Path | None, typer.Option(help="A folder that keeps what is done, to go on from.")
    ] = None,
    preprocessing: PreprocessingFile = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    channel_order: ChannelOrder = None,
    scale: Scale = None,
) -> None:
    """Search the rules that explain a model best, by layer group, and write a preset file.

    What is found is tried on images held back; where the default is not beaten there, the file
    holds the default.
    """
    if out.suffix != ".json" or out.is_dir():
        raise InvalidInput(f"--out: {out}: name a preset file, such as preset.json")
    if out.stem in presets():
        raise InvalidInput(
            f"--out: a preset called {out.stem} ships with relprop; name another file"
        )
    network = load_model(model, weights=weights, random_weights=random_weights)
    given = preprocessing_options(size, mean, std, channel_order, scale)
    asked = preprocessing is not None or any(option is not None for option in given.values())
    prepare = preprocessing_from(network, file=preprocessing, options=given) if asked else None
    if prepare is not None:
        network.preprocessing = prepare  # type: ignore[assignment]  # Box reads its bounds there
    tuned = search(
        network,
        read_data(data, network, limit=limit, preprocessing=prepare),
        held_back=held_back,
        region=region,
        steps=steps,
        per_step=per_step,
        repeats=repeats,
        fills=[fill.strip() for fill in fills.split(",") if fill.strip()],
        starts=starts,
        rounds=rounds,
        batch_size=batch_size,
        seed=seed,
        name=out.stem,
        resume=resume,
        progress=True,
    )
    print(tuned)
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"wrote {tuned.save(out)} ({tuned.preset.name})")
    print(f"use it: relprop explain --model {model} --rules {out} IMAGE, or in Python")
    print(f"        relprop.explain(model, images, rules=relprop.Preset.load({str(out)!r}))")
