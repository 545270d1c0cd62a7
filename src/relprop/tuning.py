"""Tuning: the rules that explain a model best, searched on some images and tried on others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .comparing import FILLS, classes_of, scores_of
from .errors import InvalidInput, RelpropWarning
from .evaluation.checks import whole_number
from .evaluation.estimate import Estimate, estimate
from .evaluation.progress import bar
from .evaluation.regions import steps_for
from .layer_groups import Layout
from .propagation.presets import Preset, presets
from .propagation.rules import Rule
from .rule_search import Areas, Search
from .tuned import Tuned


def tune(
    model: Callable[..., Any],
    images: Tensor,
    *,
    target: Any = None,
    candidates: Mapping[str, Sequence[Rule]] | None = None,
    held_back: float = 0.5,
    region: int = 9,
    steps: int | None = None,
    per_step: int | float = 1,
    repeats: int = 1,
    fills: Sequence[str] = FILLS,
    starts: int = 2,
    rounds: int = 2,
    output: str = "logit",
    batch_size: int = 64,
    seed: int = 0,
    name: str = "tuned",
    resume: str | Path | None = None,
    progress: bool = False,
) -> Tuned:
    """Search rules for a model: by layer group, for the largest area between the curves that
    replace the least and the most relevant regions first (ABPC, the symmetric relevance gain).

    The shipped presets are compared by successive halving; from the best of them, one group of
    layers after another gets the rule that does best beside the others'. What is found is then
    compared with the model's default on images that the search has not seen, and only returned
    where it is better there for sure.

    Args:
        model: as for `explain`; images `[N, C, H, W]`, as the model takes them.
        target: a class per image; by default the predicted one.
        candidates: rules to try at "input", "convolution" and "dense" layers; a group that is left
            out keeps what the presets say. By default several of each kind.
        held_back: how many images are not searched on, or, below 1, which share of them.
        region, per_step, repeats, output: as `evaluation.region_perturbation` takes them.
        steps: how often is replaced; by default 100 times, or until nothing is left.
        fills: what replaces a region; the mean over them is searched for.
        starts: how many presets the search goes on from; rounds: how often through all groups.
        seed: of the split, the order of groups, and all noise.
        name: of the preset that is found.
        resume: a folder that keeps finished curves: run again, only the rest is done.

    Raises InvalidInput and InvalidTarget for what does not fit, InvalidRule and UnknownName for
    candidates, StoreMismatch for a folder of another run, and what `explain` raises.
    """
    if not fills:
        raise InvalidInput("no fills to search by: name at least one, such as 'uniform'")
    for number, what in ((starts, "starts"), (rounds, "rounds"), (batch_size, "batch_size")):
        whole_number(number, what)
    if images.ndim != 4:
        raise InvalidInput(f"images must be [N, C, H, W], got {list(images.shape)}")
    searched, kept = _split(len(images), held_back, seed)
    scores, layout = scores_of(model, images[:1]), Layout(model, images[:1])
    groups = layout.groups(candidates)
    classes = classes_of(scores, images, target, batch_size)
    settings = {
        "region": region,
        "steps": steps_for(images, region, per_step) if steps is None else steps,
        "per_step": per_step,
        "repeats": repeats,
        "output": output,
        "batch_size": batch_size,
        "seed": seed,
        "value_range": (images.amin((0, 2, 3)), images.amax((0, 2, 3))),
    }

    def areas(chosen: Tensor, part: str) -> Areas:
        """Of one part of the images."""
        folder = None if resume is None else Path(resume) / part
        some, its = images[chosen], classes[chosen]
        return Areas(model, scores, some, its, layout, fills, settings, folder)

    tries = sum(len(group.candidates) for group in groups) * starts * rounds
    with warnings.catch_warnings(), bar(len(presets()) + tries, shown=progress, unit="try") as done:
        warnings.simplefilter("ignore", RelpropWarning)  # rules that fit badly lose by themselves
        before = areas(searched, "searched")
        before.of(layout.default, 1)  # what is wrong with the model or the images is said here
        search = Search(before, groups, seed=seed, count=done)
        best, shipped = search.best(list(presets().values()), starts=starts, rounds=rounds)
        after = areas(kept, "held-back")
        ours, theirs, stock = (after.of(p, len(kept)) for p in (best, layout.default, shipped))
    gains = ours - theirs
    gain = estimate(gains.mean(0))
    known = {layout.key(preset): preset for preset in (shipped, layout.default)}
    own = _named(layout.trimmed(best), name, gain, layout, len(kept))
    found = known.get(layout.key(best), own)
    return Tuned(
        found=found,
        default=layout.default,
        gain=gain,
        gains={fill: estimate(each) for fill, each in zip(fills, gains, strict=True)},
        areas={
            fill: (estimate(one), estimate(other))
            for fill, one, other in zip(fills, ours, theirs, strict=True)
        },
        shipped=shipped,
        over_shipped=estimate((ours - stock).mean(0)),
        trials=tuple(search.trials),
        searched=len(searched),
        held_back=len(kept),
    )


def _split(images: int, held_back: float, seed: int) -> tuple[Tensor, Tensor]:
    """Images to search on and images held back, drawn."""
    share = held_back if held_back > 0 else 0  # also where it is not a number
    kept = round(share * images) if share < 1 else int(min(share, images))
    if not 2 <= kept <= images - 2:
        raise InvalidInput(
            f"of {images} images {kept} would be held back (held_back={held_back}): at least two "
            "are needed to search on, and two to hold back"
        )
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    return order[kept:], order[:kept]


def _named(preset: Preset, name: str, gain: Estimate, layout: Layout, images: int) -> Preset:
    description = (
        f"tuned from {preset.name}: area between {gain.value:+.4g} ({gain.low:+.4g} to "
        f"{gain.high:+.4g}) over {layout.default.name} on {images} images held back"
    )
    return Preset(preset.entries, name=name, description=description)
