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
    """Scores and predicted classes of the batches that are done, in order."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self.batches = 0
        self._written = time.monotonic()

    @classmethod
    def open(
        cls,
        folder: str | Path | None,
        *,
        description: Mapping[str, Any],
        arrays: Mapping[str, Tensor],
        begun: Tensor,
    ) -> Finished:
        """What lies in the folder, which is made where it is missing; None keeps nothing.

        Raises StoreMismatch where it holds another run: other settings, images, heatmaps, targets
        or another model, which shows in the scores of the unperturbed samples, `begun`.
        """
        if folder is None:
            return cls(None)
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        identity = {**description, **{name: _digest(array) for name, array in arrays.items()}}
        _check_same_run(path, identity, begun.detach().cpu().numpy())
        finished = cls(path)
        finished._read()
        return finished

    def add(self, scores: Tensor, predicted: Tensor) -> None:
        """One more batch is done."""
        self._waiting.append((scores, predicted))
        if self._folder is not None and time.monotonic() - self._written >= SECONDS:
            self._write()

    def close(self) -> tuple[Tensor, Tensor]:
        """All scores and predicted classes, on the CPU."""
        self._write()
        scores, predicted = zip(*self._parts, strict=True)
        return torch.cat(scores), torch.cat(predicted)

    def _write(self) -> None:
        if not self._waiting:
            return
        scores, predicted = (torch.cat(column).cpu() for column in zip(*self._waiting, strict=True))
        count = len(self._waiting)
        if self._folder is not None:
            path = self._folder / f"batches-{self.batches:08d}-{count:08d}.npz"
            with _replacing(path) as scratch, scratch.open("wb") as file:
                np.savez(file, scores=scores.numpy(), predicted=predicted.numpy())
        self._parts.append((scores, predicted))
        self.batches += count
        self._waiting = []
        self._written = time.monotonic()

    def _read(self) -> None:
        """Files follow each other without a gap; what comes after a damaged one is done again."""
        assert self._folder is not None  # only then is there something to read
        while True:
            found = sorted(self._folder.glob(f"batches-{self.batches:08d}-*.npz"))
            if not found:
                return
            try:
                with np.load(found[-1], allow_pickle=False) as stored:
                    part = (torch.from_numpy(stored[name]) for name in ("scores", "predicted"))
                    self._parts.append(tuple(part))  # type: ignore[arg-type]
            except (OSError, EOFError, ValueError, KeyError, BadZipFile):
                return
            self.batches += int(found[-1].stem.split("-")[2])


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
