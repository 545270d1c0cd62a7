"""Images with regions replaced, many steps and images in one batch, made where the images are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .fills import Fill, StepFill
from .regions import Grid
from .runs import Steps


class Perturbed:
    """Scores of what `Steps` describe: to be called back by `perturbation_curve`."""

    def __init__(
        self, f: Callable[[Tensor], Any], images: Tensor, grid: Grid, fill: Fill | StepFill
    ) -> None:
        self._f, self._images, self._grid, self._fill = f, images, grid, fill
        self._last: tuple[tuple[int, int], Tensor] | None = None
        self._room: tuple[Tensor, Tensor] | None = None

    def __call__(self, steps: Steps) -> Any:
        """The model's scores `[B, K]`."""
        images = self._images.index_select(0, steps.image)
        if steps.unperturbed:
            return self._f(images)
        gone_at = self._gone_at(steps)
        every = torch.arange(1, steps.last + 1, dtype=torch.int32, device=images.device)
        every = every[:, None, None]
        values = None
        if isinstance(self._fill, Fill):
            values = self._fill.values(images, steps.seed).expand_as(images)
        batch, mask = self._rooms(len(steps.step))
        for samples, runs, made in steps.blocks():
            put_in = (
                self._by_steps(steps, runs, gone_at, every)[:, made]
                if values is None
                else values[runs, None]
            )
            shape = runs.stop - runs.start, made.stop - made.start
            gone = mask[samples].unflatten(0, shape)
            torch.le(gone_at[runs, None], every[made], out=gone)
            block = batch[samples].unflatten(0, shape)
            torch.where(gone[:, :, None], put_in, images[runs, None], out=block)
        return self._f(batch)

    def _rooms(self, samples: int) -> tuple[Tensor, Tensor]:
        """Memory for a batch and its mask, the same for all batches: new memory costs as much time
        as filling it.
        """
        if self._room is None or len(self._room[0]) < samples:
            shape = self._images.shape
            batch = self._images.new_empty(samples, *shape[1:])
            self._room = batch, batch.new_empty(samples, *shape[2:], dtype=torch.bool)
        return self._room[0][:samples], self._room[1][:samples]

    def _gone_at(self, steps: Steps) -> Tensor:
        """The step at which each pixel of a run is replaced, int32 `[P, H, W]`."""
        runs, goes = steps.order.shape
        never, device = steps.last + 1, steps.order.device
        at = torch.full((runs, self._grid.count), never, dtype=torch.int32, device=device)
        step = torch.arange(goes, dtype=torch.int32, device=device) // steps.per_step + 1
        at.scatter_(1, steps.order, step.expand(runs, goes))
        return self._grid.pixels(at, outside=never)

    def _by_steps(self, steps: Steps, runs: slice, gone_at: Tensor, every: Tensor) -> Tensor:
        """What a fill that needs all masks of a run puts in, `[p, L, C, H, W]`.

        The last run's is kept: the next batch may go on with it.
        """
        assert isinstance(self._fill, StepFill)
        found = []
        for run in range(runs.start, runs.stop):
            image, repeat = int(steps.image[run]), int(steps.repeat[run])
            if self._last is None or self._last[0] != (image, repeat):
                masks = gone_at[run] <= every
                seed = int(steps.seed[run])
                made = self._fill.values(self._images[image], masks, seed)
                self._last = (image, repeat), made
            found.append(self._last[1])
        return torch.stack(found)
