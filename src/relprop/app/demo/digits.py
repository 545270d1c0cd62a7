"""Ten MNIST digits and all ten classes of LeNet-5 (thesis fig. 2.6 and 2.7)."""

from __future__ import annotations

from pathlib import Path

import torch

import relprop
from relprop import models, viz
from relprop.app.conservation import conservation_line
from relprop.app.demo.case import FIGURES, all_warnings, explained, figures
from relprop.app.report import Html, figure, items, paragraph, section, table
from relprop.data import sample_digits

PRESET = "epsilon-gamma-flat"

_INTRODUCTION = (
    "LeNet-5, trained on MNIST, says how much each of ten classes it sees in a digit. Relevance "
    "shares each of those ten outputs among the pixels: red speaks for the class of the column, "
    "blue against it. Rows are digits that the network was not trained on."
)
_EACH = "Every map scaled by its own largest magnitude (thesis fig. 2.6): where the evidence lies."
_JOINTLY = (
    "All maps scaled by the largest magnitude among them (fig. 2.7): how strong the evidence is. "
    "The diagonal, the right classes, stands out."
)


def explain_digits(out: Path) -> Html:
    """Explains, writes two PNGs, prints what it finds, and returns the report's section."""
    model = models.load("lenet5")
    images, labels = (part[::2] for part in sample_digits())  # one digit of each class
    inputs = torch.stack([model.preprocessing(image) for image in images])  # type: ignore[operator]
    shown = [model.preprocessing.display(image) for image in images]  # type: ignore[union-attr, operator]
    case = explained(relprop.Explainer(model, PRESET), inputs, "all")
    explanation = case.explanation
    predicted = explanation.output.argmax(1).tolist()
    maps = viz.pool_channels(explanation.relevance)
    samples, classes, height, width = maps.shape
    each = viz.scale(maps.reshape(-1, height, width)).reshape(maps.shape)
    names = list(model.classes)  # type: ignore[arg-type]
    pictures = [
        viz.montage(
            heatmaps,
            images=shown,
            row_labels=[f"digit {label}" for label in labels],
            column_labels=[f"for {name}" for name in names],
            side=80,
        )
        for heatmaps in (each, viz.scale(maps, joint=True))
    ]
    totals = explanation.totals()
    for i, digit in enumerate(labels.tolist()):
        print(f"digit {digit}: predicted {names[predicted[i]]}")
        print(f"  {conservation_line(totals, i, predicted[i])}")
    count = samples * classes
    spent = (
        f"{count} maps in {case.seconds:.2f} s, {case.seconds / count * 1000:.1f} ms an explanation"
    )
    print(spent)
    for name, picture in zip(("digits-each.png", "digits-jointly.png"), pictures, strict=True):
        print(f"wrote {viz.save_png(picture, out / name)}")
    rows = [
        [str(digit), names[predicted[i]], *figures(case, i, predicted[i])[:-1]]
        for i, digit in enumerate(labels.tolist())
    ]
    return section(
        "Handwritten digits",
        paragraph(_INTRODUCTION),
        paragraph(f"Preset {PRESET}: {relprop.presets()[PRESET].description}. {spent}."),
        *([items(all_warnings([case]))] if all_warnings([case]) else []),
        figure(pictures[0], _EACH, wide=True),
        figure(pictures[1], _JOINTLY, wide=True),
        paragraph("Where the output of the predicted class went:"),
        table(["digit", "predicted", *FIGURES[:-1]], rows),
    )
