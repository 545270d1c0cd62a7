"""Heatmap quality against accuracy over the checkpoints of one training (thesis fig. 3.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .comparing import heatmaps_by, scores_of
from .errors import InvalidInput
from .evaluation import region_perturbation
from .evaluation.checkpoints import CheckpointComparison
from .evaluation.progress import bar
from .evaluation.regions import steps_for


def compare_checkpoints(
    checkpoints: Mapping[str, Callable[..., Any]] | Sequence[str],
    images: Tensor,
    labels: Any,
    methods: Mapping[str, Any] | Sequence[str],
    *,
    load: Callable[[str], Callable[..., Any]] | None = None,
    accuracy: Mapping[str, float] | None = None,
    target: Any = None,
    region: int = 9,
    steps: int | None = None,
    repeats: int = 10,
    fill: Any = "uniform",
    output: str = "logit",
    batch_size: int = 256,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = False,
) -> CheckpointComparison:
    """Do heatmaps get better as a network does? Region perturbation of every checkpoint of a
    training, against its accuracy (thesis fig. 3.7).

    - checkpoints: name -> model, in the order of training; or names, with `load` that makes a model
      of a name, so that only one is in memory at a time
    - images: `[N, C, H, W]`, as the models take them; labels: the right class of each, `[N]`
    - methods: label -> method as `evaluate` takes them, or names
    - accuracy: name -> accuracy, measured elsewhere on more images; by default that on `images`
    - target: a class for each image; by default the class that each checkpoint predicts
    - region, repeats, fill, output, seed: as `evaluation.region_perturbation` takes them
    - steps: how many regions are replaced; by default 100, or all where there are fewer
    - resume: a folder in which finished batches are kept: run again, only the rest is done

    Logits grow during training, and the AOPC with them: see the measure "relative" of the result,
    or give `output="probability"`. Raises InvalidInput, UnknownName, StoreMismatch for a folder of
    another run, and what the methods raise.
    """
    models = _models(checkpoints, load)
    named = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    if not named:
        raise InvalidInput("no methods to compare: name at least one, such as 'lrp:thesis'")
    classes = _as_labels(labels, images)
    _check_accuracy(accuracy, checkpoints)
    if steps is None:
        steps = steps_for(images, region)
    settings = {"region": region, "steps": steps, "repeats": repeats, "fill": fill, "seed": seed}
    settings |= {"output": output, "batch_size": batch_size}
    right, curves, random = [], {}, {}
    with bar(len(checkpoints) * (1 + len(named)), shown=progress, unit="curve") as done:
        for number, (name, model) in enumerate(models):
            scores = scores_of(model, images[:1])
            batches = images.split(batch_size)
            predicted = torch.cat([scores(batch).argmax(1) for batch in batches])
            right.append((predicted == classes.to(predicted.device)).cpu())
            followed = predicted if target is None else torch.as_tensor(target).expand(len(images))
            folder = None if resume is None else Path(resume) / f"{number:03d}"
            for place, (label, method) in enumerate([(None, None), *named.items()]):
                curve = region_perturbation(
                    scores,
                    images,
                    None if label is None else _heatmaps(model, method, batches, followed),
                    order="random" if label is None else "morf",
                    target=followed,
                    resume=None if folder is None else folder / f"{place:02d}",
                    **settings,
                )
                if label is None:
                    random[name] = curve
                else:
                    curves[name, label] = curve
                done(1)
    return CheckpointComparison(
        tuple(random), tuple(named), torch.stack(right), curves, random, accuracy
    )


def _models(
    checkpoints: Mapping[str, Callable[..., Any]] | Sequence[str],
    load: Callable[[str], Callable[..., Any]] | None,
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Checked at once; each model is loaded when it is its turn."""
    by_name = isinstance(checkpoints, Mapping)
    if by_name == (load is not None):
        raise InvalidInput(
            "checkpoints are a mapping from names to models, or names together with load=, a "
            "function that makes a model of a name"
        )
    names = list(checkpoints)
    if not names or len(set(names)) < len(names):
        raise InvalidInput(f"checkpoints need names, each another; given are {names}")
    if isinstance(checkpoints, Mapping):
        return iter(checkpoints.items())
    assert load is not None
    return ((name, load(name)) for name in names)


def _as_labels(labels: Any, images: Tensor) -> Tensor:
    found = torch.as_tensor(labels)
    if found.is_floating_point() or list(found.shape) != [len(images)]:
        raise InvalidInput(
            f"labels must be {len(images)} integers, one for each image; these are {found.dtype} "
            f"{list(found.shape)}"
        )
    return found


def _check_accuracy(accuracy: Mapping[str, float] | None, names: Sequence[str] | Any) -> None:
    if accuracy is None:
        return
    missing = [name for name in names if name not in accuracy]
    wrong = [name for name in names if name in accuracy and not isfinite(accuracy[name])]
    if wrong:
        raise InvalidInput(f"the accuracy of {wrong} is no finite number")
    if missing:
        raise InvalidInput(f"accuracy says nothing about {missing}: give one for each checkpoint")


def _heatmaps(
    model: Callable[..., Any], method: Any, batches: Sequence[Tensor], classes: Tensor
) -> Tensor:
    way = heatmaps_by(model, method)
    pairs = zip(batches, classes.split(len(batches[0])), strict=True)
    return torch.cat([way(*pair) for pair in pairs])
