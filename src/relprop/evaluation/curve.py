"""Curve: what the score does while an image is replaced, and the figures that are read off it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInput
from .estimate import Estimate, estimate, intervals

FORMAT = "relprop-curve-1"
_TENSORS = ("scores", "predicted", "target", "keys")


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores after every step of a perturbation.

    Attributes:
        scores: `[repeats, N, steps + 1]`, in the units of the model's output; step 0 is the image
            as it was.
        predicted: the class predicted then, of the same shape (for a model with one score, whether
            it is positive).
        target: the class whose score it is, `[N]`.
        keys: what tells the images apart, `[N]`.
        settings: region, order, fill and whatever else the curve depends on.
        notes: what the reader should know, such as pixels left out at the edges.
    """

    scores: Tensor
    predicted: Tensor = field(repr=False)
    target: Tensor = field(repr=False)
    keys: Tensor = field(repr=False)
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def drops(self) -> Tensor:
        """f(x_0) - f(x_k), `[repeats, N, steps + 1]` float64."""
        scores = self.scores.double()
        return scores[..., :1] - scores

    @cached_property
    def per_image(self) -> Tensor:
        """Each image's mean drop over steps and repeats, `[N]`."""
        return self.drops.mean((0, 2))

    @cached_property
    def estimate(self) -> Estimate:
        """The area over the perturbation curve with its interval; in units of the output.

        AOPC = 1 / (L + 1) times the mean over images of sum_k f(x_0) - f(x_k) (thesis eq. 3.6).
        For "morf" larger is better, for "lerf" smaller; it has no upper bound.
        """
        return estimate(self.per_image)

    @property
    def aopc(self) -> float:
        """The area over the perturbation curve: see `estimate`."""
        return self.estimate.value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the AOPC, by bootstrap over images."""
        return self.estimate.interval

    def over(self, other: Curve) -> Estimate:
        """This AOPC less another's, the random order's for example, image by image.

        Both must come from the same images, targets, regions, steps, fill and seed, so that they
        share every draw of noise; the order may differ. Raises InvalidInput where they do not.
        """
        check_comparable(self, other)
        return estimate(self.per_image - other.per_image)

    @cached_property
    def flipped(self) -> Tensor:
        """`[steps + 1]`: the share of images and repeats whose prediction has changed by then.

        Once changed it counts as changed, also where a later step brings it back.
        """
        changed = (self.predicted != self.predicted[..., :1]).to(torch.int32)
        return changed.cummax(2).values.double().mean((0, 1))

    def to_frame(self) -> Any:
        """A pandas table, one row a step: score, drop with its interval, share of images flipped.

        Means over images and repeats.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("Curve.to_frame needs pandas: pip install pandas") from None
        drops = self.drops.mean(0)
        low, high = intervals(drops)
        return pandas.DataFrame(
            {
                "step": range(self.scores.shape[2]),
                "score": self.scores.double().mean((0, 1)).numpy(),
                "drop": drops.mean(0).numpy(),
                "low": low.numpy(),
                "high": high.numpy(),
                "flipped": self.flipped.numpy(),
            }
        )

    def save(self, path: str | Path) -> Path:
        """Write to a .npz file. Raises InvalidInput for another suffix."""
        path = _checked(path)
        described = {"format": FORMAT, "settings": dict(self.settings), "notes": list(self.notes)}
        arrays = {name: getattr(self, name).numpy() for name in _TENSORS}
        text = np.array(json.dumps(described))
        np.savez_compressed(path, __description__=text, **arrays)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Curve:
        """Read what `save` wrote. Raises InvalidInput for files that it did not write."""
        path = _checked(path)
        try:
            with np.load(path, allow_pickle=False) as stored:
                described = json.loads(str(stored["__description__"]))
                tensors = {name: torch.from_numpy(stored[name]) for name in _TENSORS}
            if described["format"] != FORMAT:
                raise ValueError(f"format {described['format']!r}")
            return cls(**tensors, settings=described["settings"], notes=tuple(described["notes"]))
        except (OSError, EOFError, KeyError, ValueError, TypeError, BadZipFile) as error:
            raise InvalidInput(f"{path} is not a curve that relprop saved: {error}") from error

    def __repr__(self) -> str:
        repeats, images, steps = self.scores.shape
        return (
            f"Curve({images} images, {repeats} repeats, {steps - 1} steps, AOPC {self.estimate}, "
            f"settings={dict(self.settings)})"
        )


def check_comparable(first: Curve, second: Curve) -> None:
    """Refuse curves that do not share images, targets and draws of noise."""
    for name in sorted({*first.settings, *second.settings} - {"order"}):
        mine, theirs = first.settings.get(name), second.settings.get(name)
        if mine != theirs:
            raise InvalidInput(f"the curves differ in {name}: {mine!r} and {theirs!r}")
    if first.scores.shape != second.scores.shape:
        shapes = list(first.scores.shape), list(second.scores.shape)
        raise InvalidInput(f"the curves are [repeats, N, steps + 1] = {shapes[0]} and {shapes[1]}")
    for name in ("keys", "target"):
        if not torch.equal(getattr(first, name), getattr(second, name)):
            what = "images, or the same in another order" if name == "keys" else "targets"
            raise InvalidInput(f"the curves come from other {what}")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".npz":
        raise InvalidInput(f"curves are saved as .npz, got {path.name!r}")
    return path
