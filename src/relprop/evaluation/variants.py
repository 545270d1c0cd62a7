"""Hypotheses about what a model looks at, tested on variants of the same images (thesis 6.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from .estimate import Estimate, estimate
from .scores import Reading, as_scores, check_model, place_of, read_target
from .squares import SQUARES, Pixels, as_pixels, make_square

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Variant = Callable[[Pixels], Any]

ORIENTATIONS = ("landscape", "portrait", "square")


@dataclass(frozen=True, eq=False)
class InputComparison:
    """The output for one class under variants of the same images.

    Attributes:
        scores: variant -> `[N]`, in units of the output.
        unchanged: the output for the images as they are, `[N]`.
        target: the class of each image, `[N]`.
        orientation: "landscape", "portrait" or "square", of each image as it is.
    """

    scores: Mapping[str, Tensor]
    unchanged: Tensor
    target: Tensor = field(repr=False)
    orientation: tuple[str, ...] = field(repr=False)

    @property
    def groups(self) -> tuple[str, ...]:
        """ "all", then the orientations that occur."""
        return ("all", *(name for name in ORIENTATIONS if name in self.orientation))

    def change(self, variant: str, group: str = "all") -> Estimate:
        """The mean change of the output from the images as they are, with its interval."""
        if variant not in self.scores or group not in self.groups:
            raise InvalidInput(
                f"variant {variant!r}, group {group!r}: variants are {list(self.scores)}, groups "
                f"are {list(self.groups)}"
            )
        change = self.scores[variant].double() - self.unchanged.double()
        return estimate(change[self._members(group)])

    def _members(self, group: str) -> Tensor:
        return torch.tensor([group in ("all", found) for found in self.orientation])

    def to_frame(self) -> Any:
        """A pandas table, one row for each variant and group (thesis fig. 6.8, 6.11)."""
        try:
            import pandas
        except ImportError:
            raise ImportError("InputComparison.to_frame needs pandas: pip install pandas") from None
        rows = []
        for variant in self.scores:
            for group in self.groups:
                found = self.change(variant, group)
                output = self.scores[variant][self._members(group)].double()
                rows.append(
                    {
                        "variant": variant,
                        "orientation": group,
                        "images": len(found.per_image),
                        "output": float(output.mean()),
                        "change": found.value,
                        "low": found.low,
                        "high": found.high,
                        "raised": float((found.per_image > 0).double().mean()),
                    }
                )
        return pandas.DataFrame(rows)

    def figure(self) -> Figure:
        """A bar for each variant and orientation, with intervals (thesis fig. 6.8).

        Raises RelpropError where matplotlib is missing.
        """
        from ..viz.figures import new_figure

        groups = self.groups[1:]
        figure = new_figure(2 + 0.9 * len(self.scores), 3)
        ax = figure.subplots()
        width = 0.8 / len(groups)
        for i, group in enumerate(groups):
            found = [self.change(variant, group) for variant in self.scores]
            places = [k - 0.4 + (i + 0.5) * width for k in range(len(found))]
            heights = [e.value for e in found]
            ends = [[e.value - e.low for e in found], [e.high - e.value for e in found]]
            ax.bar(places, heights, width, yerr=ends, label=group, capsize=2)
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set_xticks(range(len(self.scores)), list(self.scores), rotation=30, ha="right")
        ax.set_ylabel("change of the output")
        ax.legend()
        return figure


def compare_inputs(
    model: Callable[[Tensor], Any],
    images: Sequence[Any],
    variants: Mapping[str, Variant] | Sequence[str] = SQUARES,
    *,
    prepare: Callable[[Pixels], Tensor] | None = None,
    target: Any = None,
    output: str = "logit",
    batch_size: int = 64,
    seed: int = 0,
) -> InputComparison:
    """How does one class's output change under variants of the same images (thesis 6.3.1)?

    - images: uint8 `[H, W, 3]` or `[H, W]` of any sizes, or PIL images
    - variants: name -> function of a uint8 image that returns one; or names of the ways to make an
      image square (`SQUARES`), whose random pixels and colours are drawn from `seed` and position
    - prepare: what makes the model's input `[C, H, W]` of an image; by default the model's own
      `preprocessing`. The images as they are go through it, too: that is what change is measured
      from
    - target: one class, one for each image, or None for the class predicted for it as it is
    - output: "logit" or "probability"

    Raises InvalidInput where there are no images or variants or nothing to prepare them with,
    UnknownName for another way to make an image square, InvalidTarget.
    """
    check_model(model)
    found = prepare or getattr(model, "preprocessing", None)
    if not callable(found):
        raise InvalidInput(
            "the model has no preprocessing; give prepare, a function from a uint8 image to the "
            "model's input [C, H, W]"
        )
    pixels = [as_pixels(image) for image in images]
    named = _named(variants, seed)
    if not pixels or not named:
        raise InvalidInput(f"there are {len(pixels)} images and {len(named)} variants to compare")
    asked = partial(_scores, model, found, batch_size=batch_size)
    begun = asked(pixels)
    reading = Reading(begun, read_target(begun, target), output)
    everything = torch.arange(len(pixels), device=begun.device)
    scores = {}
    for name, vary in named.items():
        changed = [as_pixels(vary(i, image)) for i, image in enumerate(pixels)]
        scores[name] = reading(asked(changed), everything)[0].cpu()
    return InputComparison(
        scores=scores,
        unchanged=reading.at_start()[0].cpu(),
        target=reading.target.cpu(),
        orientation=tuple(_orientation(image) for image in pixels),
    )


def _named(
    variants: Mapping[str, Variant] | Sequence[str], seed: int
) -> dict[str, Callable[[int, Pixels], Any]]:
    """Name -> function of position and image."""
    if isinstance(variants, Mapping):
        return {name: partial(_own, vary) for name, vary in variants.items()}
    return {how: partial(_square, how, seed) for how in variants}


def _own(vary: Variant, position: int, image: Pixels) -> Any:
    return vary(image)


def _square(how: str, seed: int, position: int, image: Pixels) -> Pixels:
    return make_square(image, how, seed=(seed, position))


def _scores(
    model: Callable[[Tensor], Any],
    prepare: Callable[[Pixels], Tensor],
    images: list[Pixels],
    *,
    batch_size: int,
) -> Tensor:
    found = []
    for begin in range(0, len(images), batch_size):
        part = images[begin : begin + batch_size]
        inputs = torch.stack([torch.as_tensor(prepare(image)) for image in part])
        with torch.no_grad():
            found.append(as_scores(model(inputs.to(*place_of(model, inputs))), len(part)))
    return torch.cat(found)


def _orientation(image: Pixels) -> str:
    height, width = image.shape[:2]
    return "square" if height == width else "landscape" if width > height else "portrait"
