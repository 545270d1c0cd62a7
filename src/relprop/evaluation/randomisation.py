"""Do heatmaps change when what the model has learned is taken from it, layer by layer?

The model parameter randomisation test (MPRT; Adebayo et al. 2018), from the input upwards, since
randomising from the output downwards keeps the scales of activations below and so misjudges methods
that look at them, LRP among them (Binder et al. 2023); its smooth form (sMPRT), with heatmaps
averaged over noise; and its efficient form (eMPRT), which compares complexity before and after
instead of similarity (both Hedström et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from .checks import whole_number
from .estimate import Estimate, estimate
from .maps import Array, as_maps
from .noise import image_keys, normal, run_seeds
from .randomised import Reset, randomised
from .scores import as_scores, check_model, place_of, read_target

Explain = Callable[[nn.Module, Tensor, Tensor], Any]


@dataclass(frozen=True, eq=False)
class Randomisation:
    """How heatmaps changed while a model was randomised, one more layer in each step.

    - order: "bottom-up" or "top-down"
    - layers: the names of the modules as they were randomised, `L` of them
    - similarity: `[L, N]`, of each image's map to that of the trained model (`map_similarity`)
    - complexity: `[L + 1, N]`, of each map (`histogram_entropy`); first that of the trained model
    """

    order: str
    layers: tuple[str, ...]
    similarity: Tensor
    complexity: Tensor

    @property
    def mean_similarity(self) -> Estimate:
        """The similarity to the trained model's maps, averaged over all steps (MPRT, sMPRT).

        In [-1, 1]; smaller is more sensitive to what was learned. A map of noise gets 0.
        """
        return estimate(self.similarity.mean(0))

    @property
    def last_similarity(self) -> Estimate:
        """The same with all layers randomised."""
        return estimate(self.similarity[-1])

    @property
    def complexity_rise(self) -> Estimate:
        """(H(last) - H(first)) / H(first), with H the complexity of a map (eMPRT).

        Larger is better: maps of a random model should be less ordered than those of a trained one.
        Images whose first map is constant have no ratio, and are not averaged (`left_out`). Raises
        InvalidInput where none is left.
        """
        kept = self.complexity[:, self.complexity[0] > 0]
        if not kept.shape[1]:
            raise InvalidInput(
                "all heatmaps of the trained model are constant, so their complexity is 0: there "
                "is no relative rise"
            )
        return estimate((kept[-1] - kept[0]) / kept[0])

    @property
    def left_out(self) -> list[int]:
        """The images whose map by the trained model is constant."""
        return (self.complexity[0] == 0).nonzero().flatten().tolist()

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each step, from the trained model on: layer, similarity and complexity, with
        the bounds of their 95 % intervals over images.
        """
        same = torch.ones_like(self.complexity[:1])
        steps = zip(
            ("", *self.layers), torch.cat([same, self.similarity]), self.complexity, strict=True
        )
        return [
            {"order": self.order, "step": number, "layer": layer}
            | _figures("similarity", estimate(similarity))
            | _figures("complexity", estimate(complexity))
            for number, (layer, similarity, complexity) in enumerate(steps)
        ]

    def to_frame(self) -> Any:
        """The rows as a pandas table."""
        try:
            import pandas
        except ImportError:
            raise ImportError("Randomisation.to_frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.rows)


def randomisation_test(
    model: nn.Module,
    images: Array,
    explain: Explain,
    *,
    target: Any = None,
    order: str = "bottom-up",
    bins: int = 100,
    layers: Sequence[str] | None = None,
    reset: Reset | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> Randomisation:
    """Explain the same images by a model that loses one trained layer after another.

    - model: a network in evaluation mode; copies of it are randomised, itself stays as it is
    - images: `[N, ...]`, put where the model is
    - explain: (model, images, classes `[N]`) -> heatmaps `[N, ...]`; `noise_averaged(explain)` for
      the smooth form
    - target: a class for each image, or one for all; by default those that the trained model
      predicts, for all steps
    - order: "bottom-up", from the input to the output, or "top-down"
    - bins: of the histogram that the complexity is read from
    - layers: names of modules, from the input to the output; by default all that hold parameters,
      as the model names them
    - reset: draws a layer's parameters anew; by default its own `reset_parameters`. What is drawn
      depends on `seed` and the layer's name: both orders end at the same model

    Raises InvalidInput for a model, images, heatmaps or numbers that do not fit, and for layers
    that cannot be randomised; UnknownName for another order or layer; InvalidTarget.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            f"only a torch module can be randomised, and the model is a {type(model).__name__}"
        )
    check_model(model)
    given = _placed(model, images)
    classes = _classes(model, given, target, whole_number(batch_size, "batch_size"))
    models = randomised(model, order=order, layers=layers, reset=reset, seed=seed)
    first = _heatmaps(explain, model, given, classes, batch_size, "the trained model")
    names, similarity, complexity = [], [], [histogram_entropy(first, bins=bins)]
    for name, changed in models:
        state = f"the model randomised {order} as far as {name!r}"
        maps = _heatmaps(explain, changed, given, classes, batch_size, state)
        names.append(name)
        similarity.append(map_similarity(first, maps))
        complexity.append(histogram_entropy(maps, bins=bins))
    return Randomisation(order, tuple(names), torch.stack(similarity), torch.stack(complexity))


def noise_averaged(
    explain: Explain, *, samples: int = 50, noise: float = 0.1, seed: int = 0
) -> Explain:
    """`explain` with its heatmaps averaged over the image and `samples` - 1 noisy copies of it.

    The noise is normal; `noise` is its standard deviation as a share of the image's range. It
    depends on the image and `seed`, so that all models get the same; each sample is a batch of the
    same size. Raises InvalidInput for numbers that do not fit.
    """
    whole_number(samples, "samples")
    if not isinstance(noise, (int, float)) or not 0 <= noise < float("inf"):
        raise InvalidInput(f"noise is {noise!r}; it must be a share of the range, 0 or more")

    def averaged(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        total = torch.as_tensor(explain(model, images, classes)).detach()
        flat = images.flatten(1)
        deviation = noise * (flat.amax(1) - flat.amin(1))[:, None]
        for seeds in run_seeds(image_keys(images), samples, seed)[1:]:
            drawn = normal(seeds, flat.shape[1]).to(flat) * deviation
            noisy = images + drawn.view_as(images)
            total = total + torch.as_tensor(explain(model, noisy, classes)).detach()
        return total / samples

    return averaged


def map_similarity(first: Array, second: Array, *, signed: bool = False) -> Tensor:
    """Spearman's rank correlation of two maps of each image, `[N, ...]` each -> float64 `[N]`.

    Of their magnitudes, or, with `signed`, of their values. In [-1, 1]; equal values share their
    mean rank. 0 where one of them is constant: it has no order to agree with. Raises InvalidInput
    for maps of different shapes and values that are not finite.
    """
    one, other = as_maps(first), as_maps(second)
    if one.shape != other.shape:
        raise InvalidInput(f"maps of {list(one.shape)} and {list(other.shape)} do not compare")
    compared = (one, other.to(one.device)) if signed else (one.abs(), other.to(one.device).abs())
    ranks = [_centred_ranks(maps.flatten(1)) for maps in compared]
    lengths = ranks[0].norm(dim=1) * ranks[1].norm(dim=1)
    products = (ranks[0] * ranks[1]).sum(1)
    return torch.where(lengths > 0, products / lengths, 0.0)


def histogram_entropy(heatmaps: Array, *, bins: int = 100) -> Tensor:
    """The entropy of the histogram of each map's values, `[N, ...]` -> float64 `[N]`, in bits.

    `bins` of equal width lie between the map's least and largest value. From 0, a constant map, to
    log2(bins), as many pixels in each; larger is more complex. Raises InvalidInput for maps that
    are not finite.
    """
    values = as_maps(heatmaps).flatten(1)
    low = values.amin(1, keepdim=True)
    width = values.amax(1, keepdim=True) - low
    share = torch.where(width > 0, (values - low) / width, 0.0)
    places = (share * whole_number(bins, "bins")).long().clamp(max=bins - 1)
    counts = values.new_zeros(len(values), bins)
    counts.scatter_add_(1, places, torch.ones_like(values))
    shares = counts / values.shape[1]
    return -torch.special.xlogy(shares, shares).sum(1) / torch.log(shares.new_tensor(2.0))


def _centred_ranks(values: Tensor) -> Tensor:
    """Mean ranks of each row `[N, P]`, less their mean."""
    ascending = values.sort(1).values
    below = torch.searchsorted(ascending, values, right=False)
    upto = torch.searchsorted(ascending, values, right=True)
    ranks = (below + upto).double()
    return ranks - ranks.mean(1, keepdim=True)


def _classes(model: nn.Module, images: Tensor, target: Any, batch_size: int) -> Tensor:
    with torch.no_grad():
        parts = [as_scores(model(batch), len(batch)) for batch in images.split(batch_size)]
    return read_target(torch.cat(parts), target)


def _placed(model: nn.Module, images: Array) -> Tensor:
    """Where the model is; floats in its number type."""
    found = torch.as_tensor(images).detach()
    if found.ndim < 2 or found.numel() == 0:
        raise InvalidInput(f"images are {list(found.shape)}; expected [N, ...] as the model takes")
    device, dtype = place_of(model, found)
    return found.to(device, dtype) if found.is_floating_point() else found.to(device)


def _heatmaps(
    explain: Explain,
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    batch_size: int,
    state: str,
) -> Tensor:
    """`state` says in an error which model it was."""
    batches = zip(images.split(batch_size), classes.split(batch_size), strict=True)
    try:
        maps = torch.cat([as_maps(explain(model, *batch)).cpu() for batch in batches])
    except InvalidInput as error:
        raise InvalidInput(f"{error}; these are of {state}") from error
    if len(maps) != len(images):
        raise InvalidInput(f"explain returned {len(maps)} heatmaps for {len(images)} images")
    return maps


def _figures(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
