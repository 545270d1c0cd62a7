"""What `relprop evaluate` reads and writes: images, tables, curves, a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relprop import viz
from relprop.app.images import image_files, preprocessing_from, read_image
from relprop.app.report.page import write_page
from relprop.app.report.parts import code, columns, figure, paragraph, section, table
from relprop.data import Preprocessing
from relprop.errors import InvalidInput
from relprop.evaluation import curve_figure
from relprop.evaluation.comparison import Comparison
from relprop.methods import METHODS

DATA_SETS = ("mnist", "cifar10")
_EXAMPLES = 6  # images in the report
_SIDE = 112  # pixels of an example


def read_data(
    data: Sequence[str], model: nn.Module, *, limit: int | None, preprocessing: Any = None
) -> Tensor:
    """Images `[N, C, H, W]` as the model takes them: of a data set's test part, or of files.

    Raises InvalidInput for paths without images and for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidInput(f"--limit is {limit}; give 1 or more")
    if len(data) == 1 and data[0] in DATA_SETS:
        return _test_images(data[0], model, limit)
    files = image_files([Path(path) for path in data])[:limit]
    prepared: Preprocessing = preprocessing or preprocessing_from(model)
    return torch.stack([prepared(read_image(file)) for file in files])


def _test_images(name: str, model: nn.Module, limit: int | None) -> Tensor:
    from relprop.data import cifar10, load_mnist

    images = load_mnist("test")[0] if name == "mnist" else cifar10("test")[0].transpose(0, 2, 3, 1)
    prepare = getattr(model, "preprocessing", None)
    if prepare is None:
        raise InvalidInput(f"how images of {name} are prepared for this model is not known")
    return torch.stack([prepare(image) for image in images[:limit]])


def write_all(comparison: Comparison, images: Tensor, out: Path, *, title: str) -> Iterator[str]:
    """Tables, curves and the report into a folder; says what it wrote line by line."""
    out.mkdir(parents=True, exist_ok=True)
    frame = comparison.to_frame()
    frame.to_csv(out / "table.csv", index=False)
    frame.to_parquet(out / "table.parquet", index=False)
    yield f"wrote {out / 'table.csv'} and table.parquet"
    cost = [f"{label},{1e3 * s:.4f}" for label, s in comparison.seconds.items()]
    (out / "cost.csv").write_text("\n".join(["method,ms_an_image", *cost]) + "\n")
    for stale in out.glob("curves-*.???"):
        stale.unlink()  # of fills that an earlier run had
    for fill in comparison.fills:
        drawn = _drawn(comparison, fill)
        for ending in ("png", "svg"):
            drawn.savefig(out / f"curves-{fill}.{ending}", dpi=150)
        yield f"wrote {out / f'curves-{fill}.png'} and .svg"
    yield f"wrote {_report(comparison, images, out / 'report.html', title)}"


def _drawn(comparison: Comparison, fill: str) -> Any:
    curves = {label: comparison.curves[fill, "morf", label] for label in comparison.labels}
    return curve_figure(curves, over=comparison.curves[fill, "random", "random"])


def _report(comparison: Comparison, images: Tensor, path: Path, title: str) -> Path:
    parts = []
    for fill in comparison.fills:
        parts.append(
            section(
                f"Regions replaced by: {fill}",
                _table(comparison, fill),
                figure(
                    _pixels(_drawn(comparison, fill)),
                    "Drop of the score over that of a random order, with 95 % bands; higher is "
                    "better.",
                    wide=True,
                ),
            )
        )
    notes = dict.fromkeys(note for curve in comparison.curves.values() for note in curve.notes)
    return write_page(
        path,
        title,
        paragraph(
            f"{len(images)} images; {_settings(comparison)}. AOPC: the mean drop of the class's "
            "score while regions are replaced, the most relevant first; over random: less that of "
            "a random order; LeRF: the drop with the least relevant first, smaller is better; "
            "between: AOPC less LeRF. With 95 % intervals over images. Gini and entropy tell how "
            "concentrated the maps are."
        ),
        *(paragraph(f"Note: {note}.") for note in notes),
        *parts,
        _examples(comparison, images),
        section("As text", code(str(comparison))),
    )


def _settings(comparison: Comparison) -> str:
    """What was asked for, as far as it is the same for all curves."""
    settings = next(iter(comparison.curves.values())).settings
    named = ("region", "steps", "per_step", "repeats", "output", "seed")
    return ", ".join(f"{name} {settings[name]}" for name in named if name in settings)


def _pixels(drawn: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn.set_dpi(150)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _table(comparison: Comparison, fill: str) -> str:
    def shown(row: dict[str, Any], name: str) -> str:
        return f"{row[name]:.3g} ({row[f'{name}_low']:.3g} to {row[f'{name}_high']:.3g})"

    rows = [
        [
            row["method"],
            _question(row["method"]),
            *(shown(row, name) for name in ("aopc", "over_random", "lerf", "abpc")),
            f"{1e3 * comparison.seconds[row['method']]:.2f}",
            f"{row['gini']:.3f}",
            f"{row['entropy']:.3f}",
        ]
        for row in comparison.ranked(fill)
    ]
    figures = ("AOPC", "AOPC over random", "LeRF", "between")
    heads = ["method", "question", *figures, "ms an image", "Gini", "entropy"]
    return table(heads, rows)


def _question(label: str) -> str:
    return METHODS[label].question if label in METHODS else "attribution"


def _examples(comparison: Comparison, images: Tensor) -> str:
    """The first images and what each method says about them."""
    pieces = []
    for index in range(min(_EXAMPLES, len(images))):
        factor = max(1, round(_SIDE / max(images.shape[2:])))
        picture = viz.enlarge(_picture(images[index]), factor)
        row = [figure(picture, f"image {index}")]
        for label in comparison.labels:
            heatmap = viz.scale(comparison.heatmaps[label][index : index + 1].float())[0]
            row.append(figure(viz.enlarge(viz.colourise(heatmap.numpy()), factor), label))
        pieces.append(columns(row))
    return section("Examples", *pieces)


def _picture(image: Tensor) -> Any:
    """An image as the model takes it, spread over what a screen shows."""
    low, high = image.amin(), image.amax()
    spread = (image - low) / (high - low).clamp(min=1e-12)
    pixels = (spread * 255).round().to(torch.uint8).expand(3, -1, -1) if len(image) == 1 else None
    if pixels is None:
        pixels = (spread[:3] * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
