"""Perturbation of anything, step by step: what the score does while components are replaced.

Regions of images and local descriptors both stand on this: it knows only which components go at
which step, and calls back for scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from .checks import whole_number
from .curve import Curve
from .noise import run_seeds
from .progress import bar
from .resume import Finished
from .scores import Reading, as_scores, read_target

ScoreAfter = Callable[["Steps"], Tensor]


@dataclass(frozen=True, eq=False)
class Steps:
    """The samples of one batch. A run is one image in one repeat; P of them meet in the batch.

    Attributes:
        image, repeat: which ones, int64 `[P]`, one entry a run.
        seed: the run's own, int64 `[P]`: the same for every method and order.
        order: components of the run, the first to be replaced first, int64 `[P, M]`; -1 where an
            image has no more.
        run: the run of each sample, int64 `[B]`, ascending from 0.
        step: how often was replaced, int64 `[B]`; 0 is the sample as it was.
        per_step: components that go at once.
        last: the number of steps that a run makes.
        skipped: how many steps of the first run another batch had.
        unperturbed: whether no sample of the batch has anything replaced.
    """

    image: Tensor
    repeat: Tensor
    seed: Tensor
    order: Tensor
    run: Tensor
    step: Tensor
    per_step: int
    last: int
    skipped: int = 0
    unperturbed: bool = False

    def replaced(self, sample: int) -> Tensor:
        """The components that are replaced in a sample of the batch, in order."""
        count = int(self.step[sample]) * self.per_step
        gone = self.order[int(self.run[sample])][:count]
        return gone[gone >= 0]

    def blocks(self) -> Iterator[tuple[slice, slice, slice]]:
        """The batch in at most three blocks of (samples, runs, steps from 0): in each, all of its
        runs make the same steps.
        """
        total, run, row = len(self.step), 0, 0
        while row < total:
            begin = self.skipped if row == 0 else 0
            whole = (total - row) // self.last if begin == 0 else 0
            end = self.last if whole else min(self.last, begin + total - row)
            count = max(whole, 1)
            samples = slice(row, row + count * (end - begin))
            yield samples, slice(run, run + count), slice(begin, end)
            row, run = samples.stop, run + count


@dataclass(frozen=True, eq=False)
class _Runs:
    """All runs, image by image: `image` and `repeat` are `[P]`; `source` `[repeats, N]` says in
    which run an image's repeat is computed.
    """

    image: Tensor
    repeat: Tensor
    source: Tensor


def perturbation_curve(
    score_after: ScoreAfter,
    order: Tensor,
    *,
    per_step: int = 1,
    repeats: int = 1,
    noisy: bool = True,
    keys: Tensor | None = None,
    target: Any = None,
    output: str = "logit",
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = False,
    resume: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> Curve:
    """Replace components in the given order and follow the score: the core of all perturbation.

    - score_after(steps) -> scores `[B, K]` of the samples that a `Steps` describes. What it draws,
      it draws from the run's seed, so that batches do not matter
    - order: int64 `[N, M]`, or `[repeats, N, M]`; ceil(M / per_step) steps are made; padded with -1
      for images with fewer components
    - noisy: False where a repeat with the same order gives the same again: it is computed once
    - keys: int64 `[N]`, what a run's seed is made of beside seed and repeat; the positions where
      left out
    - settings: what else tells this run from another one, plain numbers and texts

    The rest is as in `region_perturbation`. Raises InvalidInput, InvalidTarget, and StoreMismatch
    for a folder of another run.
    """
    images, components = _check(order, repeats, per_step, batch_size)
    keys = torch.arange(images, device=order.device) if keys is None else keys
    seeds = run_seeds(keys, repeats, seed)
    steps = -(-components // per_step)
    runs = _distinct_runs(order, repeats, noisy)
    begun = _unperturbed(score_after, order, seeds, per_step, batch_size)
    reading = Reading(begun, read_target(begun, target), output)
    described = {
        **(settings or {}),
        "output": output,
        "seed": seed,
        "steps": steps,
        "per_step": per_step,
    }

    def batch(rows: range) -> tuple[Tensor, Tensor]:
        asked = _rows(rows, runs, steps, order, seeds, per_step)
        return reading(as_scores(score_after(asked), len(rows)), asked.image[asked.run])

    total = len(runs.image) * steps
    finished = Finished.open(
        resume,
        total=total,
        description={**described, "batch_size": batch_size, "repeats": repeats},
        arrays={"keys": keys, "order": order, "target": reading.target},
        begun=begun,
    )
    with bar(total, shown=progress, begin=finished.samples) as update:
        for first in range(finished.samples, total, batch_size):
            rows = range(first, min(first + batch_size, total))
            finished.add(*batch(rows))
            update(len(rows))
    scores, predicted = (
        _joined(at_start, later, runs.source, steps)
        for at_start, later in zip(reading.at_start(), finished.close(), strict=True)
    )
    _check_finite(scores)
    return Curve(
        scores=scores,
        predicted=predicted,
        target=reading.target.cpu(),
        keys=keys.cpu(),
        settings=described,
        notes=notes,
    )


def _check(order: Tensor, repeats: int, per_step: int, batch_size: int) -> tuple[int, int]:
    for name, value in (("repeats", repeats), ("per_step", per_step), ("batch_size", batch_size)):
        whole_number(value, name)
    fits = order.ndim == 2 or (order.ndim == 3 and len(order) == repeats)
    if not fits or order.numel() == 0 or order.dtype != torch.int64:
        raise InvalidInput(
            f"order is {order.dtype} {list(order.shape)}; it must be int64 [N, M], or [{repeats}, "
            "N, M] with one order a repeat, and hold at least one component"
        )
    return order.shape[-2], order.shape[-1]


def _distinct_runs(order: Tensor, repeats: int, noisy: bool) -> _Runs:
    """Without noise, repeats with the same order are one run."""
    images, device = order.shape[-2], order.device
    if noisy or order.ndim == 3:
        image = torch.arange(images, device=device).repeat_interleave(repeats)
        repeat = torch.arange(repeats, device=device).repeat(images)
        source = torch.arange(images * repeats, device=device).view(images, repeats).T
        return _Runs(image, repeat, source)
    image = torch.arange(images, device=device)
    return _Runs(image, torch.zeros_like(image), image.expand(repeats, images))


def _unperturbed(
    score_after: ScoreAfter, order: Tensor, seeds: Tensor, per_step: int, batch_size: int
) -> Tensor:
    """The scores `[N, K]` of the samples as they were."""
    found = []
    chosen = order[0] if order.ndim == 3 else order
    last = -(-order.shape[-1] // per_step)
    everything = torch.arange(order.shape[-2], device=order.device)
    for image in everything.split(batch_size):
        repeat = torch.zeros_like(image)
        own = torch.arange(len(image), device=order.device)
        steps = Steps(
            *(image, repeat, seeds[0, image], chosen[image], own, repeat, per_step, last),
            unperturbed=True,
        )
        found.append(as_scores(score_after(steps), len(image)))
    return torch.cat(found)


def _rows(
    rows: range, runs: _Runs, steps: int, order: Tensor, seeds: Tensor, per_step: int
) -> Steps:
    """Rows of the long list of all runs' steps, run by run."""
    here = slice(rows[0] // steps, rows[-1] // steps + 1)
    image, repeat = runs.image[here], runs.repeat[here]
    row = torch.arange(rows[0], rows[-1] + 1, device=order.device)
    return Steps(
        image=image,
        repeat=repeat,
        seed=seeds[repeat, image],
        order=order[repeat, image] if order.ndim == 3 else order[image],
        run=row // steps - here.start,
        step=row % steps + 1,
        per_step=per_step,
        last=steps,
        skipped=rows[0] % steps,
    )


def _joined(at_start: Tensor, later: Tensor, source: Tensor, steps: int) -> Tensor:
    """`[N]` and `[runs * steps]` -> `[repeats, N, steps + 1]`."""
    repeated = later.view(-1, steps)[source.cpu()]
    first = at_start.cpu().expand(repeated.shape[:2])[..., None]
    return torch.cat([first, repeated], 2)


def _check_finite(scores: Tensor) -> None:
    wrong = (~torch.isfinite(scores)).nonzero()
    if len(wrong):
        repeat, image, step = wrong[0].tolist()
        raise InvalidInput(
            f"the model's score is {float(scores[repeat, image, step])} for image {image} after "
            f"step {step} of repeat {repeat}"
        )
