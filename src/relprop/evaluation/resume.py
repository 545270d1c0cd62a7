"""A run that can be stopped at any moment: finished batches lie in a folder.

Batches are cut at the same places in every run, so a run that was interrupted calls the model with
the same batches, and finds the same numbers to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ..errors import StoreMismatch

SECONDS = 10.0  # between writes
CLOSE = 1e-5  # the same model on another machine differs by rounding

_DESCRIPTION, _START = "description.json", "unperturbed.npy"


class Finished:
    """Scores and predicted classes of the batches that are done, in order.

    They are written into memory of their own: many small tensors that stay, among the large ones
    that come and go in a model, would have the system fetch memory anew for every batch.
    """

    def __init__(self, folder: Path | None, total: int, like: Tensor) -> None:
        """For `total` samples, with scores of the type of `like`."""
        self._folder = folder
        self._scores = like.new_empty(total)
        self._predicted = like.new_empty(total, dtype=torch.int32)
        self._kept = 0  # samples that are in files
        self._written = time.monotonic()
        self.samples = 0

    @classmethod
    def open(
        cls,
        folder: str | Path | None,
        *,
        total: int,
        description: Mapping[str, Any],
        arrays: Mapping[str, Tensor],
        begun: Tensor,
    ) -> Finished:
        """What lies in the folder, which is made where it is missing; None keeps nothing.

        Raises StoreMismatch where it holds another run: other settings, images, heatmaps, targets
        or another model, which shows in the scores of the unperturbed samples, `begun`.
        """
        if folder is None:
            return cls(None, total, begun)
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        identity = {**description, **{name: _digest(array) for name, array in arrays.items()}}
        _check_same_run(path, identity, begun.detach().cpu().numpy())
        finished = cls(path, total, begun)
        finished._read()
        return finished

    def add(self, scores: Tensor, predicted: Tensor) -> None:
        """One more batch is done."""
        self._put(scores, predicted)
        if self._folder is not None and time.monotonic() - self._written >= SECONDS:
            self._write()

    def close(self) -> tuple[Tensor, Tensor]:
        """All scores and predicted classes, on the CPU."""
        self._write()
        return self._scores.cpu(), self._predicted.cpu()

    def _put(self, scores: Tensor, predicted: Tensor) -> None:
        here = slice(self.samples, self.samples + len(scores))
        self._scores[here], self._predicted[here] = scores, predicted
        self.samples = here.stop

    def _write(self) -> None:
        if self._folder is None or self._kept == self.samples:
            return
        here = slice(self._kept, self.samples)
        scores, predicted = (found[here].cpu() for found in (self._scores, self._predicted))
        path = self._folder / f"samples-{here.start:010d}-{here.stop:010d}.npz"
        with _replacing(path) as scratch, scratch.open("wb") as file:
            np.savez(file, scores=scores.numpy(), predicted=predicted.numpy())
        self._kept = self.samples
        self._written = time.monotonic()

    def _read(self) -> None:
        """Files follow each other without a gap; what comes after a damaged one is done again."""
        assert self._folder is not None  # only then is there something to read
        while found := sorted(self._folder.glob(f"samples-{self.samples:010d}-*.npz")):
            try:
                with np.load(found[-1], allow_pickle=False) as stored:
                    scores, predicted = (
                        torch.from_numpy(stored[name]) for name in ("scores", "predicted")
                    )
            except (OSError, EOFError, ValueError, KeyError, BadZipFile):
                break
            self._put(scores, predicted)
        self._kept = self.samples


class _replacing:
    """A scratch path that takes the place of `path` once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._scratch = path, path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        return self._scratch

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            os.replace(self._scratch, self._path)


def _check_same_run(folder: Path, identity: dict[str, Any], begun: np.ndarray) -> None:
    """Compare with what the folder says, or say it there."""
    description, start = folder / _DESCRIPTION, folder / _START
    text = json.dumps(identity, indent=1, sort_keys=True)
    if not description.exists():
        with _replacing(start) as scratch, scratch.open("wb") as file:
            np.save(file, begun)
        with _replacing(description) as scratch:
            scratch.write_text(text)
        return
    try:
        stored, before = json.loads(description.read_text()), np.load(start, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise StoreMismatch(f"{folder} can't be read; give another folder: {error}") from error
    given = json.loads(text)
    for name in sorted({*stored, *given}):
        if stored.get(name) != given.get(name):
            raise StoreMismatch(
                f"{folder} holds a run with other {name} ({stored.get(name)!r}, now "
                f"{given.get(name)!r}); give another folder, or delete this one"
            )
    scale = max(float(np.abs(before).max()), float(np.finfo(np.float32).tiny))
    if before.shape != begun.shape or not np.abs(before - begun).max() <= CLOSE * scale:
        raise StoreMismatch(
            f"{folder} holds a run of another model: its scores of the unperturbed images differ; "
            "give another folder, or delete this one"
        )


def _digest(array: Tensor) -> str:
    values = array.detach().cpu().contiguous().numpy()
    return f"{list(values.shape)} {hashlib.sha256(values.tobytes()).hexdigest()[:16]}"
