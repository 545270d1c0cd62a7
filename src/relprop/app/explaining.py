"""One image file explained: what is printed about it, and the files that are written."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import relprop
from relprop import viz
from relprop.app.conservation import conservation_line
from relprop.app.images import image_files, read_image
from relprop.app.targets import class_indices, class_name
from relprop.data import Preprocessing
from relprop.errors import InvalidInput

_SIDE = 224  # smaller maps are enlarged to about this many pixels
_BEST = 3  # predictions that are printed


@dataclass(frozen=True)
class Look:
    """How heatmaps are drawn. Raises UnknownName and InvalidInput for what can't be drawn."""

    colour_map: str = "seismic"
    gamma: float = 1.0
    overlay: bool = False

    def __post_init__(self) -> None:
        viz.colourise([0.0], self.colour_map)
        viz.brighten(np.zeros(1), self.gamma)


class ImageExplainer:
    """A model with its preprocessing and names, ready for one image after another."""

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        *,
        names: Sequence[str],
        rules: relprop.Preset | None,
        flat_until: str | None,
        look: Look,
    ) -> None:
        self.model, self.preprocessing, self.names, self.look = model, preprocessing, names, look
        model.preprocessing = preprocessing  # type: ignore[assignment]  # Box reads its bounds there
        self._explainer = relprop.Explainer(model, rules, flat_until=flat_until)

    def explain_file(
        self, file: Path, *, target: str | None, out: Path, stem: str
    ) -> Iterator[str]:
        """Explains the image, writes PNGs and `stem`.npz into `out`, and says so line by line."""
        image = read_image(file)
        inputs = self.preprocessing(image)[None]
        classes = None if target is None else self._classes(target, inputs)
        start = time.perf_counter()
        explanation = self._explainer(inputs, _as_target(classes, self.names))
        seconds = time.perf_counter() - start
        yield str(file)
        yield f"  predicted: {predictions(explanation.output[0], self.names)}"
        explained = classes or [int(explanation.output[0].argmax())]
        totals = explanation.totals()
        for k, index in enumerate(explained):
            place = (0, k) if explanation.grouped else (0,)
            yield f"  {class_name(index, self.names)}: {conservation_line(totals, *place)}"
        yield f"  preset {explanation.preset}, {seconds:.2f} s"
        for note in explanation.notes:
            yield f"  note: {note}"
        maps = explanation.heatmap()[0].numpy()
        maps = maps if explanation.grouped else maps[None]
        shown = self.preprocessing.display(image)
        for index, heatmap in zip(explained, maps, strict=True):
            suffix = f"-{slug(class_name(index, self.names))}" if classes else ""
            for path in draw(heatmap, shown, out / f"{stem}{suffix}.png", self.look):
                yield f"  wrote {path}"
        if len(explained) > 1:
            labels = [class_name(index, self.names) for index in explained]
            yield f"  wrote {self._montage(maps, shown, labels, out / f'{stem}.png')}"
        out.mkdir(parents=True, exist_ok=True)
        yield f"  wrote {explanation.save(out / f'{stem}.npz')}"

    def _classes(self, target: str, inputs: torch.Tensor) -> list[int]:
        with torch.no_grad():
            output = self.model(inputs)
        output = getattr(output, "logits", output)
        if not isinstance(output, torch.Tensor) or output.ndim != 2:
            raise InvalidInput(
                "--target needs a model that returns a score for each class, [N, classes]; leave "
                "it out, or explain this model in Python"
            )
        return class_indices(target, self.names, count=output.shape[1])

    def _montage(
        self, maps: NDArray[Any], image: NDArray[np.uint8], labels: list[str], path: Path
    ) -> Path:
        bright = viz.brighten(maps, self.look.gamma)[None]
        picture = viz.montage(
            bright,
            images=[image],
            column_labels=labels,
            colour_map=self.look.colour_map,
            side=_SIDE // 2,
        )
        return viz.save_png(picture, path)


def draw(heatmap: NDArray[Any], image: NDArray[np.uint8], path: Path, look: Look) -> Iterator[Path]:
    """Writes a heatmap `[H, W]` in [-1, 1], and over its image where that is wanted."""
    if heatmap.ndim != 2:
        raise InvalidInput(f"relevance of an image should be a map [H, W]; it is {heatmap.shape}")
    bright = viz.brighten(heatmap, look.gamma)
    factor = max(1, round(_SIDE / max(heatmap.shape)))
    colours = viz.colourise(bright, look.colour_map)
    yield viz.save_png(viz.enlarge(colours, factor), path)
    if look.overlay:
        both = viz.overlay(bright, image, colour_map=look.colour_map)
        overlaid = path.with_name(f"{path.stem}-overlay.png")
        yield viz.save_png(viz.enlarge(both, factor), overlaid)


def named_files(paths: Iterable[Path]) -> dict[str, Path]:
    """A name for what is written about each image file: its own without ending, told apart."""
    found: dict[str, Path] = {}
    for file in image_files(paths):
        stem, number = slug(file.stem), 2
        while stem in found:
            stem, number = f"{slug(file.stem)}-{number}", number + 1
        found[stem] = file
    return found


def predictions(output: torch.Tensor, names: Sequence[str]) -> str:
    """The best classes of one output `[K]` with their scores; for other outputs the values."""
    if output.numel() == 1:
        return f"{float(output):.4f}"
    if output.ndim != 1:
        return f"an output of {list(output.shape)}"
    best = output.topk(min(_BEST, len(output))).indices.tolist()
    return ", ".join(f"{class_name(i, names)} ({i}) {float(output[i]):.2f}" for i in best)


def slug(text: str) -> str:
    """The text as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "image"


def _as_target(classes: list[int] | None, names: Sequence[str]) -> Any:
    if classes is None or len(classes) == 1:
        return classes[0] if classes else None
    return {f"{index} {class_name(index, names)}": [index] for index in classes}
