"""Perturbation of local descriptors instead of pixels, for Fisher vectors (thesis C.2).

The descriptors of an image are replaced in the order of their relevance. An unnormalised Fisher
vector is a sum over descriptors, so it is updated for those that go and come, not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, UnknownName
from .checks import whole_number
from .curve import Curve
from .noise import ORDER, TIES, generator, image_keys, run_seeds, words
from .regions import ORDERS
from .runs import Steps, perturbation_curve


def perturb_descriptors(
    score: Callable[[Tensor, Tensor], Any],
    descriptors: Sequence[Tensor],
    relevance: Sequence[Tensor] | None,
    *,
    encode: Callable[[Tensor], Tensor],
    sample: Callable[[int, torch.Generator], Tensor],
    order: str = "morf",
    steps: int = 100,
    per_step: int = 100,
    repeats: int = 5,
    target: Any = None,
    output: str = "logit",
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = False,
    resume: str | Path | None = None,
) -> Curve:
    """Replace local descriptors by random ones, the most relevant first, and follow the score
    (thesis C.2).

    - score: sums `[B, V]` of encoded descriptors and their number `[B]` -> scores `[B, K]`; here
      belongs what is normalised
    - descriptors: for each image `[T, D]`; T may differ
    - relevance: for each image `[T]`; may be None for order "random"
    - encode: descriptors `[t, D]` -> the sum `[V]` of what each adds (the terms of eq. C.2)
    - sample: (count, generator) -> descriptors `[count, D]` such as the Gaussian mixture has them
    - steps, per_step: as the thesis has them, the first 10,000 in batches of 100; an image with
      fewer stays as it is once all are replaced, which `notes` says

    The rest is as in `region_perturbation`. Raises InvalidInput where lengths do not match,
    UnknownName for an unknown order, InvalidTarget, StoreMismatch.
    """
    if order not in ORDERS:
        raise UnknownName("order", order, ORDERS)
    found = [torch.as_tensor(own) for own in descriptors]
    _check(found, relevance, order)
    whole_number(steps, "steps"), whole_number(per_step, "per_step")
    keys = torch.cat([image_keys(own[None]) for own in found])
    seeds = run_seeds(keys, repeats, seed)
    few = sum(len(own) < steps * per_step for own in found)
    note = f"{few} of {len(found)} images have fewer than {steps * per_step} descriptors"
    with torch.no_grad():
        return perturbation_curve(
            _Updated(score, found, encode, sample),
            _in_order(found, relevance, order, seeds, steps * per_step),
            per_step=per_step,
            repeats=repeats,
            keys=keys,
            target=target,
            output=output,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
            resume=resume,
            settings={"order": order, "fill": "sample"},
            notes=(note,) if few else (),
        )


class _Updated:
    """Scores of images with descriptors replaced. The last run's sums are kept for its next
    batch.
    """

    def __init__(
        self,
        score: Callable[[Tensor, Tensor], Any],
        descriptors: list[Tensor],
        encode: Callable[[Tensor], Tensor],
        sample: Callable[[int, torch.Generator], Tensor],
    ) -> None:
        self._score, self._descriptors = score, descriptors
        self._encode, self._sample = encode, sample
        self._last: tuple[tuple[int, int], Tensor] | None = None

    def __call__(self, steps: Steps) -> Any:
        runs = list(zip(steps.image.tolist(), steps.repeat.tolist(), strict=True))
        counts = torch.tensor([len(self._descriptors[image]) for image, _ in runs])[steps.run]
        if steps.unperturbed:
            sums = [self._encode(self._descriptors[image]) for image, _ in runs]
            return self._score(torch.stack(sums), counts)
        parts = []
        for run, which in enumerate(runs):
            if self._last is None or self._last[0] != which:
                self._last = which, self._sums(steps, run)
            parts.append(self._last[1][steps.step[steps.run == run] - 1])
        return self._score(torch.cat(parts), counts)

    def _sums(self, steps: Steps, run: int) -> Tensor:
        """The sum after every step of a run, `[steps, V]`: what goes is taken off, what comes is
        added.
        """
        own = self._descriptors[int(steps.image[run])]
        order = steps.order[run]
        order = order[order >= 0]
        drawn = self._sample(len(order), generator(int(steps.seed[run]), own.device))
        if drawn.shape != (len(order), own.shape[1]):
            raise InvalidInput(
                f"sample returned {list(drawn.shape)}; it must return [{len(order)}, "
                f"{own.shape[1]}], one descriptor for each that is replaced"
            )
        total = self._encode(own)
        sums = []
        gone, come = order.split(steps.per_step), drawn.to(own).split(steps.per_step)
        for old, new in zip(gone, come, strict=True):
            total = total - self._encode(own[old]) + self._encode(new)
            sums.append(total)
        return torch.stack(sums + [total] * (steps.last - len(sums)))


def _in_order(
    descriptors: list[Tensor],
    relevance: Sequence[Tensor] | None,
    order: str,
    seeds: Tensor,
    first: int,
) -> Tensor:
    """`[N, first]`, or `[repeats, N, first]` at random; -1 where an image has fewer."""
    random = order == "random"
    found = torch.full((len(seeds) if random else 1, len(descriptors), first), -1)
    for image, own in enumerate(descriptors):
        here = seeds[: len(found), image]
        goes = words(here, len(own), ORDER if random else TIES).argsort(1)
        if not random:
            assert relevance is not None  # checked before
            values = torch.as_tensor(relevance[image]).double()[goes]
            goes = goes.gather(1, values.argsort(dim=1, descending=order == "morf", stable=True))
        found[:, image, : len(own)] = goes[:, :first]
    return found if random else found[0]


def _check(descriptors: list[Tensor], relevance: Sequence[Tensor] | None, order: str) -> None:
    if not descriptors:
        raise InvalidInput("there are no images: descriptors is empty")
    for image, own in enumerate(descriptors):
        if own.ndim != 2 or own.numel() == 0 or not own.is_floating_point():
            raise InvalidInput(
                f"descriptors of image {image} are {own.dtype} {list(own.shape)}; expected floats "
                "[T, D] with one descriptor at least"
            )
    if order == "random":
        return
    if relevance is None or len(relevance) != len(descriptors):
        count = "none" if relevance is None else f"that of {len(relevance)}"
        raise InvalidInput(
            f"order {order!r} needs the relevance of {len(descriptors)} images, there is {count}"
        )
    for image, (own, values) in enumerate(zip(descriptors, relevance, strict=True)):
        shape = list(torch.as_tensor(values).shape)
        if shape != [len(own)]:
            raise InvalidInput(
                f"relevance of image {image} is {shape}; it has {len(own)} descriptors"
            )
        if not bool(torch.isfinite(torch.as_tensor(values)).all()):
            raise InvalidInput(f"relevance of image {image} contains NaN or infinite values")
