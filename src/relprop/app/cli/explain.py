"""`relprop explain`: heatmaps of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from relprop.app.cli.options import (
    ChannelOrder,
    FlatUntil,
    Mean,
    Model,
    PreprocessingFile,
    RandomWeights,
    Rules,
    Scale,
    Size,
    Std,
    Weights,
    chosen_preset,
    preprocessing_options,
)
from relprop.app.estimators import explain_picture, explain_table, load_estimator
from relprop.app.explaining import ImageExplainer, Look, named_files
from relprop.app.images import preprocessing_from
from relprop.app.model_source import load_model
from relprop.errors import InvalidInput


def explain(
    model: Model,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Images and folders of them.", show_default=False)
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="An image or a folder of them; may be repeated.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A CSV file with a row for each sample, for a scikit-learn --model."),
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    target: Annotated[
        str | None,
        typer.Option(
            help="A class by index or name, several with commas, or all; by default the predicted."
        ),
    ] = None,
    rules: Rules = None,
    flat_until: FlatUntil = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("relprop-out"),
    colour_map: Annotated[
        str, typer.Option(help="seismic, jet, high-contrast or blue-orange.")
    ] = "seismic",
    gamma: Annotated[
        float, typer.Option(help="Below 1, weak relevance is brighter: |R| to the power gamma.")
    ] = 1.0,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also lay the heatmaps over the image.")
    ] = False,
    preprocessing: PreprocessingFile = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    channel_order: ChannelOrder = None,
    scale: Scale = None,
    classes: Annotated[
        Path | None, typer.Option(help="A text file with the classes' names, a line each.")
    ] = None,
) -> None:
    """Explain what a model sees in images: a PNG for each class, and the relevance as .npz.

    With --data, what a scikit-learn model (.skops, or package.module:name) makes of a table.
    """
    given = preprocessing_options(size, mean, std, channel_order, scale)
    paths = [*(image or []), *(images or [])]
    if not paths and data is None:
        raise typer.BadParameter("name at least one image or folder, such as photo.jpg")
    if paths and data is not None:
        raise typer.BadParameter("--data is a table: explain images in a run of their own")
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out: {out} is a file; name a folder to write to")
    if data is not None:
        for line in explain_table(load_estimator(model), data, target=target, out=out):
            print(line)
        return
    preset = chosen_preset(rules)
    files = named_files(paths)
    look = Look(colour_map=colour_map, gamma=gamma, overlay=overlay)
    if Path(model).suffix.lower() == ".skops":
        estimator = load_estimator(model)
        for stem, file in files.items():
            for line in explain_picture(
                estimator, file, target=target, look=look, out=out, stem=stem
            ):
                print(line)
        return
    network = load_model(model, weights=weights, random_weights=random_weights)
    explainer = ImageExplainer(
        network,
        preprocessing_from(network, file=preprocessing, options=given),
        names=_names(classes) if classes else list(getattr(network, "classes", ())),
        rules=preset,
        flat_until=flat_until,
        look=look,
    )
    for stem, file in tqdm(files.items(), disable=None, leave=False, unit="image"):
        for line in explainer.explain_file(file, target=target, out=out, stem=stem):
            tqdm.write(line)


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise InvalidInput(f"--classes: there is no file {path}")
    return path.read_text(encoding="utf-8").splitlines()
