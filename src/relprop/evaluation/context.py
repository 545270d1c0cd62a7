"""Context: how much of the evidence lies outside of the object (thesis 4.4, eq. 4.11)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from .maps import Array, as_planes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Box = Sequence[float]

NO_BOX = "no box"
COVERED = "boxes cover everything"
NOTHING_INSIDE = "no positive relevance inside"
REASONS = (NO_BOX, COVERED, NOTHING_INSIDE)


@dataclass(frozen=True)
class ClassContext:
    """One class: mean and standard deviation of the ratio over the images that have one.

    `left_out` are the other images, by reason.
    """

    name: Any
    images: int
    mean: float
    spread: float
    left_out: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class ContextRatio:
    """The ratio of each image, `[N]`, NaN where it has none.

    Near 0, the evidence is on the object; at 1, a pixel outside carries as much as one inside;
    above, the surroundings say more than the object. There is no upper bound.

    Attributes:
        ratios: float64 `[N]`.
        left_out: reason -> the images without a ratio, by name (position where none are given).
        classes: the class of each image, or None.
        names: what the images are called.
    """

    ratios: Tensor
    left_out: Mapping[str, tuple[Any, ...]]
    classes: tuple[Any, ...] | None
    names: tuple[Any, ...] = field(repr=False)

    @property
    def mean(self) -> float:
        """Over the images that have a ratio; NaN where none has."""
        return self._of(self._present).mean

    @property
    def spread(self) -> float:
        """The standard deviation over the images that have a ratio; NaN for fewer than two."""
        return self._of(self._present).spread

    def by_class(self) -> list[ClassContext]:
        """One entry for each class, in their order; raises InvalidInput without classes."""
        if self.classes is None:
            raise InvalidInput("the classes are not known: context_ratio(..., classes=...)")
        rows = []
        for name in sorted(set(self.classes)):
            mine = torch.tensor([found == name for found in self.classes])
            rows.append(self._of(mine, name))
        return rows

    def to_frame(self, average_precision: Mapping[Any, float] | None = None) -> Any:
        """A pandas table, one row a class, or a single one; average precision beside, if given."""
        try:
            import pandas
        except ImportError:
            raise ImportError("ContextRatio.to_frame needs pandas: pip install pandas") from None
        rows = [self._of(self._present, "all")] if self.classes is None else self.by_class()
        table = []
        for row in rows:
            counted = {reason: len(row.left_out[reason]) for reason in REASONS}
            line = {"class": row.name, "images": row.images, "mean": row.mean}
            line |= {"spread": row.spread, **counted}
            if average_precision is not None:
                line["average precision"] = average_precision.get(row.name, float("nan"))
            table.append(line)
        return pandas.DataFrame(table)

    @property
    def _present(self) -> Tensor:
        return torch.ones(len(self.ratios), dtype=torch.bool)

    def _of(self, chosen: Tensor, name: Any = None) -> ClassContext:
        mine = self.ratios[chosen]
        valid = mine[~mine.isnan()]
        members = {n for n, member in zip(self.names, chosen.tolist(), strict=True) if member}
        left_out = {
            reason: tuple(image for image in images if image in members)
            for reason, images in self.left_out.items()
        }
        mean = float(valid.mean())
        spread = float(valid.std()) if len(valid) > 1 else float("nan")
        return ClassContext(name, len(valid), mean, spread, left_out)


def context_ratio(
    relevance: Array,
    boxes: Sequence[Sequence[Box]],
    *,
    classes: Sequence[Any] | None = None,
    names: Sequence[Any] | None = None,
) -> ContextRatio:
    """Positive relevance a pixel outside of an object's boxes, over that inside (eq. 4.11).

    - relevance: `[N, H, W]` for the object's class
    - boxes: for each image those of that class, (left, top, right, bottom) in pixels, right and
      bottom not included (a Pascal VOC box is one pixel lower at left and top); parts of pixels
      count where the pixel's centre is covered, and what hangs over the edge does not count
    - classes: of each image, for figures by class
    - names: of the images, for those that are left out

    An image without a box, one whose boxes cover everything, and one without positive relevance
    inside have no ratio: they are counted and named in `left_out`. Raises InvalidInput where
    numbers do not match.
    """
    maps = as_planes(relevance).cpu().clamp(min=0)
    known = tuple(range(len(maps))) if names is None else tuple(names)
    for what, given in (("lists of boxes", boxes), ("classes", classes), ("names", known)):
        if given is not None and len(given) != len(maps):
            raise InvalidInput(f"there are {len(maps)} images and {len(given)} {what}")
    if len(set(known)) < len(known):
        raise InvalidInput("names must differ: images that are left out are known by them")
    left_out: dict[str, list[Any]] = {reason: [] for reason in REASONS}
    ratios = torch.full((len(maps),), float("nan"), dtype=torch.float64)
    for i, (image, own) in enumerate(zip(maps, boxes, strict=True)):
        inside = box_mask(own, image.shape[0], image.shape[1])
        if not bool(inside.any()):
            left_out[NO_BOX].append(known[i])
        elif bool(inside.all()):
            left_out[COVERED].append(known[i])
        elif not float(image[inside].sum()):
            left_out[NOTHING_INSIDE].append(known[i])
        else:
            ratios[i] = image[~inside].mean() / image[inside].mean()
    return ContextRatio(
        ratios,
        {reason: tuple(images) for reason, images in left_out.items()},
        None if classes is None else tuple(classes),
        known,
    )


def box_mask(boxes: Sequence[Box], height: int, width: int) -> Tensor:
    """The union of boxes (left, top, right, bottom), bool `[height, width]`.

    Raises InvalidInput for boxes that are not four numbers, or empty.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    for box in boxes:
        corners = [float(corner) for corner in box]
        if len(corners) != 4 or not corners[0] < corners[2] or not corners[1] < corners[3]:
            raise InvalidInput(
                f"box {tuple(box)} must be (left, top, right, bottom) with left < right and "
                "top < bottom"
            )
        left, top, right, bottom = corners
        rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        mask |= ((top <= rows) & (rows < bottom))[:, None] & ((left <= columns) & (columns < right))
    return mask


def context_figure(models: Mapping[str, ContextRatio]) -> Figure:
    """Mean and standard deviation for each class, models side by side (thesis fig. 4.6).

    Raises InvalidInput without models or classes, RelpropError where matplotlib is missing.
    """
    from ..viz.figures import new_figure

    if not models:
        raise InvalidInput("there is nothing to draw: no model is given")
    rows = {model: {row.name: row for row in ratio.by_class()} for model, ratio in models.items()}
    classes = sorted({name for found in rows.values() for name in found})
    figure = new_figure(1.5 + 0.35 * len(models) * len(classes), 3)
    ax = figure.subplots()
    width = 0.8 / len(models)
    for i, (model, found) in enumerate(rows.items()):
        own = [name for name in classes if name in found]
        places = [classes.index(name) - 0.4 + (i + 0.5) * width for name in own]
        means, spreads = [found[n].mean for n in own], [found[n].spread for n in own]
        ax.bar(places, means, width, yerr=spreads, label=model, capsize=2)
    ax.axhline(1, color="0.4", linewidth=0.8)
    ax.set_xticks(range(len(classes)), [str(name) for name in classes], rotation=45, ha="right")
    ax.set_ylabel("relevance outside / inside")
    ax.legend()
    return figure
