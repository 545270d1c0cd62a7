"""Methods compared on one model and its images: perturbation curves, cost, concentration."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from .errors import InvalidInput, InvalidTarget, StoreMismatch, UnknownName
from .evaluation import region_perturbation
from .evaluation.checks import whole_number
from .evaluation.comparison import Comparison, Key
from .evaluation.curve import Curve
from .evaluation.progress import bar
from .evaluation.regions import steps_for
from .explain import explain
from .explainer import Explainer, network_of
from .methods import METHODS
from .propagation.checks import select_output
from .propagation.lrp import Options
from .propagation.presets import Preset, presets
from .propagation.record import call_model, record
from .propagation.route import find_ending
from .propagation.routes import Routes
from .propagation.rules import Rule
from .result import Explanation

FILLS = ("uniform", "blur", "noisy-linear")
Heatmaps = Callable[[Tensor, Tensor], Tensor]


def evaluate(
    model: Callable[..., Any],
    images: Tensor,
    methods: Mapping[str, Any] | Sequence[str],
    *,
    target: Any = None,
    region: int = 9,
    steps: int | None = None,
    per_step: int | float = 1,
    repeats: int = 10,
    fills: Sequence[str] = FILLS,
    output: str = "logit",
    batch_size: int = 256,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare methods by region perturbation: how fast the output falls as what they call most
    relevant is replaced, and how slowly for the least relevant (thesis 3.4).

    Args:
        model: as for `explain`; images `[N, C, H, W]`, as the model takes them.
        methods: label -> a method's name ("sensitivity"), a name and its options
            (`("occlusion", {"window": 4})`), a preset's name ("thesis", "lrp:thesis"), a rule or
            Preset, or a callable (images, classes) -> heatmaps `[N, H, W]`; or names only.
        target: a class per sample; by default the predicted one.
        region, per_step, repeats, output, seed: as `evaluation.region_perturbation` takes them.
        steps: how often is replaced; by default 100 times, or until nothing is left.
        fills: what replaces a region; rankings depend on it, so several are compared.
        resume: a folder in which finished pieces are kept: run again, only the rest is done.

    Raises InvalidInput, UnknownName, StoreMismatch for a folder of another run, and what the
    methods raise.
    """
    specified = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    if not specified:
        raise InvalidInput("no methods to compare: name at least one, such as 'lrp:thesis'")
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        raise InvalidInput("images must be a tensor [N, C, H, W] with at least one image")
    if not fills:
        raise InvalidInput("no fills: name what replaces a region, such as 'uniform'")
    whole_number(batch_size, "batch_size")
    ways = {label: heatmaps_by(model, method) for label, method in specified.items()}
    scores = scores_of(model, images[:1])
    classes = classes_of(scores, images, target, batch_size)
    folder = None if resume is None else Path(resume)
    data = _digest(images, classes)
    settings: dict[str, Any] = {
        "region": region,
        "steps": steps_for(images, region, per_step) if steps is None else steps,
        "per_step": per_step,
        "repeats": repeats,
        "target": classes,
        "output": output,
        "batch_size": batch_size,
        "seed": seed,
    }
    heatmaps, seconds = dict[str, Tensor](), dict[str, float]()
    curves = dict[Key, Curve]()

    def follow(fill: str, order: str, label: str, number: int) -> None:
        curves[fill, order, label] = region_perturbation(
            *(scores, images, heatmaps.get(label)),
            **settings,
            order=order,
            fill=fill,
            resume=_named(folder, number, label, order, fill),
        )
        done(1)

    with bar(len(fills) * (1 + 2 * len(ways)), shown=progress, unit="curve") as done:
        for fill in fills:  # first of all: a setting that does not fit is told before the maps
            follow(fill, "random", "random", 0)
        for number, (label, way) in enumerate(ways.items(), start=1):
            heatmaps[label], seconds[label] = _kept(
                _named(folder, number, f"{label}.npz"),
                f"{label}={_identity(specified[label])} {data}",
                partial(_heatmaps, way, images, classes, batch_size),
            )
        for fill, (number, label), order in product(fills, enumerate(ways, 1), ("morf", "lerf")):
            follow(fill, order, label, number)
    return Comparison(curves, heatmaps, seconds)


def heatmaps_by(model: Callable[..., Any], method: Any) -> Heatmaps:
    """Heatmaps `[N, H, W]` of images for classes, not scaled, by a method in any notation."""
    if isinstance(method, tuple) and len(method) == 2:
        name, options = method
        if name not in METHODS:
            raise UnknownName("method", str(name), METHODS)
        return lambda images, classes: pooled(
            explain(model, images, classes, method=name, **options)
        )
    if isinstance(method, str):
        kind, _, preset = method.partition(":")
        if kind in METHODS and not preset:
            return heatmaps_by(model, (method, {}))
        if method != "lrp" and kind != "lrp" and method not in presets():
            raise UnknownName("method", method, dict.fromkeys(("lrp", *METHODS, *presets())))
        rules = preset if kind == "lrp" else method
        if rules and rules not in presets():
            raise UnknownName("preset", rules, presets())
        return _by_relevance(model, rules or None)
    if isinstance(method, (Rule, Preset)):
        return _by_relevance(model, method)
    if callable(method):
        return lambda images, classes: _as_heatmaps(method(images, classes), images)
    raise InvalidInput(
        f"{method!r} is no method: give a name, (name, options), a rule, a Preset, or a callable "
        "(images, classes) -> heatmaps"
    )


def pooled(explanation: Explanation) -> Tensor:
    """`[N, H, W]`: relevance with channels pooled as the method asks."""
    from .viz.heatmap import pool_channels

    return pool_channels(explanation.relevance.detach(), explanation.pooling, classes=False)


def scores_of(model: Callable[..., Any], image: Tensor) -> Callable[[Tensor], Tensor]:
    """What the model says about a batch, `[N, K]`, before a final softmax or sigmoid.

    `image` `[1, C, H, W]` is run once to see whether there is one.
    """
    network = network_of(model)

    def plain(batch: Tensor) -> Tensor:
        with torch.no_grad():
            return select_output(call_model(network, batch))

    if find_ending(record(network, image, layers=())).operation is None:
        return plain
    routes = Routes()

    def without_ending(batch: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            recording, route = routes.run(network, batch, Options())
            return route.ending.output(recording)

    return without_ending


def _by_relevance(model: Callable[..., Any], rules: Any) -> Heatmaps:
    explainer = Explainer(model, rules)
    return lambda images, classes: pooled(explainer(images, classes))


def _as_heatmaps(given: Any, images: Tensor) -> Tensor:
    heatmaps = pooled(given) if isinstance(given, Explanation) else torch.as_tensor(given)
    wanted = (images.shape[0], *images.shape[2:])
    if heatmaps.shape != wanted:
        raise InvalidInput(
            f"a method returned heatmaps of shape {tuple(heatmaps.shape)} for images of shape "
            f"{tuple(images.shape)}; expected {tuple(wanted)}"
        )
    return heatmaps


def classes_of(
    scores: Callable[[Tensor], Tensor], images: Tensor, target: Any, batch_size: int
) -> Tensor:
    """`[N]`, as given or as predicted. Raises InvalidTarget."""
    if target is None:
        found = torch.cat([scores(batch) for batch in images.split(batch_size)])
        return found.argmax(1) if found.ndim > 1 else found.new_zeros(len(found)).long()
    try:
        given = torch.as_tensor(target)
    except (RuntimeError, TypeError, ValueError):
        given = torch.zeros(0)
    if given.is_floating_point() or given.shape not in ((), (len(images),)):
        raise InvalidTarget(
            f"target must be a class, or one for each of {len(images)} images, got {target!r}"
        )
    return given.expand(len(images))


def _heatmaps(
    way: Heatmaps, images: Tensor, classes: Tensor, batch_size: int
) -> tuple[Tensor, float]:
    """Heatmaps of all images `[N, H, W]`, and seconds an image."""
    way(images[:1], classes[:1])  # what is loaded and planned once is not counted
    start = time.perf_counter()
    pairs = zip(images.split(batch_size), classes.split(batch_size), strict=True)
    parts = [way(*pair) for pair in pairs]
    return torch.cat(parts), (time.perf_counter() - start) / len(images)


def _kept(
    path: Path | None, identity: str, make: Callable[[], tuple[Tensor, float]]
) -> tuple[Tensor, float]:
    """Heatmaps and seconds from an earlier run, or made now and kept for a later one.

    Raises StoreMismatch where the file belongs to other images, classes or methods.
    """
    if path is None:
        return make()
    with suppress(OSError, EOFError, ValueError, KeyError, BadZipFile):  # damaged: made again
        with np.load(path, allow_pickle=False) as stored:
            found = torch.from_numpy(stored["heatmaps"]), float(stored["seconds"])
            same = str(stored["identity"]) == identity
        if not same:
            raise StoreMismatch(
                f"{path} holds heatmaps of other images, classes or another method; give "
                "another folder, or delete this one"
            )
        return found
    heatmaps, seconds = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez(file, heatmaps=heatmaps.cpu().numpy(), seconds=seconds, identity=identity)
    scratch.replace(path)
    return heatmaps, seconds


def _identity(method: Any) -> str:
    """A method and its options in words, with all numbers of its tensors, which repr leaves out."""
    if isinstance(method, (Tensor, np.ndarray)):
        return _digest(torch.as_tensor(method))
    if isinstance(method, Mapping):
        return f"{{{', '.join(f'{key}: {_identity(each)}' for key, each in method.items())}}}"
    if isinstance(method, (tuple, list)):
        return f"({', '.join(map(_identity, method))})"
    if is_dataclass(method) and not isinstance(method, type):
        told = {f.name: getattr(method, f.name) for f in fields(method) if f.repr}
        return f"{type(method).__name__}{_identity(told)}"
    return repr(method)


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous()
        found.update(f"{values.dtype} {list(values.shape)}".encode())
        found.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _named(folder: Path | None, number: int, *words: str) -> Path | None:
    """A file or folder for one method, whatever its label is made of."""
    name = "-".join(re.sub(r"[^\w.]+", "-", word) for word in words)
    return None if folder is None else folder / f"{number:02d}-{name}"
