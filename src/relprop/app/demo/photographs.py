"""Six photographs, two ImageNet networks, several presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

import relprop
from relprop import models, viz
from relprop.app.conservation import conservation_line
from relprop.app.demo.case import FIGURES, Case, all_warnings, explained, figures
from relprop.app.explaining import predictions
from relprop.app.report import Html, columns, figure, heading, items, joined, paragraph, section
from relprop.app.report import table as table_of
from relprop.data import photograph
from relprop.viz.pictures import Picture

NETWORKS = {"squeezenet": "SqueezeNet 1.1", "efficientnet-lite0": "EfficientNet-Lite0"}
LITTLE = 0.1  # of the output: below it a map is of something else
PHOTOGRAPHS = ("chelsea", "coffee", "camera", "motorcycle", "rocket", "astronaut")
PRESETS = ("epsilon", "alpha1beta0", "thesis", "epsilon-gamma-box")

_GAMMA = 0.5
_SIGMA = 2.5  # pixels: what is laid over an image is smoothed, or single pixels would be lost
_LAID_OVER = "epsilon-gamma-box"


@dataclass(frozen=True)
class Photograph:
    """A photograph as the network sees it, and its explanations by preset."""

    name: str
    image: Picture
    cases: dict[str, Case]

    def heatmap(self, preset: str) -> Any:
        """`[H, W]` in [-1, 1], brightened."""
        return viz.brighten(self.cases[preset].explanation.heatmap()[0], _GAMMA)

    def smoothed(self) -> Any:
        """`[H, W]` in [-1, 1]: the map that is laid over the image."""
        relevance = viz.pool_channels(self.cases[_LAID_OVER].explanation.relevance)
        return viz.brighten(viz.scale(viz.smooth(relevance, _SIGMA))[0], _GAMMA)


def load(network: str) -> tuple[nn.Module, dict[str, Picture]]:
    """The network, and the photographs by name.

    Raises RelpropError where the network's weights or the photographs can't be had.
    """
    return models.load(network), {name: photograph(name) for name in PHOTOGRAPHS}


def explain_photographs(
    network: str, model: nn.Module, images: dict[str, Picture], out: Path
) -> Html:
    """Explains all photographs with one network, writes PNGs, prints, returns the section."""
    names = list(model.classes)  # type: ignore[arg-type]
    explainers = {preset: relprop.Explainer(model, preset) for preset in PRESETS}
    found = []
    for name, image in tqdm(images.items(), disable=None, leave=False, desc=NETWORKS[network]):
        seen = _explain(name, image, model, explainers)
        found.append(seen)
        for line in _lines(seen, names):
            tqdm.write(line)
    cases = [case for seen in found for case in seen.cases.values()]
    print(f"{len(cases)} explanations, {_mean(cases):.2f} s each on average")
    for text in all_warnings(cases):
        print(f"warning: {text}")
    montage, *others = _written(found, out / network, out / f"{network}.png")
    print(f"wrote {montage}, and {len(others)} PNGs in {out / network}")
    return _section(NETWORKS[network], found, names)


def _explain(
    name: str, image: Picture, model: nn.Module, explainers: dict[str, relprop.Explainer]
) -> Photograph:
    preprocessing: Any = model.preprocessing
    inputs = preprocessing(image)[None]
    cases = {preset: explained(explainer, inputs) for preset, explainer in explainers.items()}
    return Photograph(name, preprocessing.display(image), cases)


def _lines(seen: Photograph, names: list[str]) -> Iterator[str]:
    output = seen.cases[PRESETS[0]].explanation.output[0]
    yield f"{seen.name}: predicted {predictions(output, names)}"
    for preset, case in seen.cases.items():
        line = conservation_line(case.explanation.totals(), 0)
        yield f"  {preset:17} {line}; {case.seconds:.2f} s"


def _written(found: list[Photograph], folder: Path, montage: Path) -> Iterator[Path]:
    """Writes the network's PNGs: one of everything, and one for each map."""
    rows = [[seen.image, *(viz.colourise(seen.heatmap(p)) for p in PRESETS)] for seen in found]
    labels = [seen.name for seen in found]
    everything = viz.grid(rows, row_labels=labels, column_labels=["", *PRESETS], side=224)
    yield viz.save_png(everything, montage)
    for seen in found:
        for preset in PRESETS:
            picture = viz.colourise(seen.heatmap(preset))
            yield viz.save_png(picture, folder / f"{seen.name}-{preset}.png")
        yield viz.save_png(_overlay(seen), folder / f"{seen.name}-overlay.png")
        yield viz.save_png(_through(seen), folder / f"{seen.name}-alpha.png")


def _overlay(seen: Photograph) -> Picture:
    return viz.overlay(seen.smoothed(), seen.image)


def _through(seen: Photograph) -> Picture:
    """The image with relevance as its alpha channel (thesis fig. D.1), once more brightened."""
    return viz.as_alpha(viz.brighten(seen.smoothed(), _GAMMA), seen.image)


def _section(title: str, found: list[Photograph], names: list[str]) -> Html:
    cases = [case for seen in found for case in seen.cases.values()]
    rows = [
        [seen.name, preset, *figures(case, 0)]
        for seen in found
        for preset, case in seen.cases.items()
    ]
    return section(
        f"Photographs: {title}",
        paragraph(
            "What was relevant for the class that the network found most likely. Red speaks for "
            "it, blue against it. Colours show the square root of relevance, so that weak "
            f"relevance is seen, too. {len(cases)} explanations, {_mean(cases):.2f} s each on "
            "average."
        ),
        items(f"{preset}: {relprop.presets()[preset].description}" for preset in PRESETS),
        *([paragraph("Warnings:"), items(all_warnings(cases))] if all_warnings(cases) else []),
        *(joined(_photograph(seen, names)) for seen in found),
        heading("Where the outputs went"),
        table_of(["photograph", "preset", *FIGURES], rows),
    )


def _mean(cases: list[Case]) -> float:
    """Seconds an explanation."""
    return sum(case.seconds for case in cases) / len(cases)


def _photograph(seen: Photograph, names: list[str]) -> Iterator[Html]:
    output = seen.cases[PRESETS[0]].explanation.output[0]
    yield heading(f"{seen.name}: {predictions(output, names)}")
    yield columns(
        [
            figure(seen.image, "as the network sees it"),
            *(
                figure(viz.colourise(seen.heatmap(p)), _caption(p, c))
                for p, c in seen.cases.items()
            ),
            figure(_overlay(seen), f"{_LAID_OVER}, smoothed, over the image"),
            figure(viz.on_background(_through(seen)), "the image seen through positive relevance"),
        ]
    )


def _caption(preset: str, case: Case) -> str:
    totals = case.explanation.totals()
    arrived, output = float(totals["passed"][0]), float(totals["received"][0])
    text = f"{preset}: {arrived:.2f} of {output:.2f} arrived"
    if abs(arrived) < LITTLE * abs(output):
        text += "; biases took the rest, so the map shows almost nothing of the output"
    return text
