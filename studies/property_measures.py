"""The six measures of studies/properties.py, for square images of 32 x 32 pixels.

Regions are squares of 4 x 4 pixels, 64 of them. A region is removed by putting there what other
images, its donors, have in the same place; outputs are averaged over donors. f is the logit of the
class that the network predicts for the image as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from relprop.evaluation import Estimate, estimate, map_similarity
from relprop.evaluation.fills import blurred

SIDE, COUNT = 4, 8  # a region's side in pixels; regions of an image in a row
Heatmaps = Callable[[Tensor, Tensor], Tensor]
Figures = dict[str, Estimate | None]


@dataclass(frozen=True)
class Setting:
    """Images; paths between images and their steps; images that a removed region is taken from;
    images of a class that a map is compared with; regions removed for signed evidence; the share of
    a removal that counts as a small step.
    """

    images: int = 100
    paths: int = 20
    steps: int = 32
    donors: int = 8
    peers: int = 5
    negative: int = 5
    small: float = 0.01


@dataclass(frozen=True)
class Images:
    """Images `[N, C, 32, 32]`, the classes that the network predicts and f, `[N]`; for each image
    the places of others to take regions from, `[N, donors]`.
    """

    network: Callable[[Tensor], Tensor]
    pixels: Tensor
    classes: Tensor
    output: Tensor
    donors: Tensor

    def f(self, pixels: Tensor, image: int) -> Tensor:
        """The score for the image's class, of changed versions of it, `[B]`."""
        parts = [self.network(part) for part in pixels.split(256)]
        return torch.cat(parts)[:, self.classes[image]].double()

    def moved(self, image: int, masks: Tensor, share: float = 1.0) -> Tensor:
        """f with what the masks `[R, 32, 32]` cover moved by `share` of the way towards each donor,
        `[R, donors]`; all the way is removal.
        """
        own, others = self.pixels[image], self.pixels[self.donors[image]]
        moves = share * (others - own)[None] * masks[:, None, None]
        return self.f((own + moves).flatten(0, 1), image).view(len(masks), -1)


def prepare(model: nn.Module, pixels: Tensor, setting: Setting, seed: int = 0) -> Images:
    """The images with what the network says about them."""

    def network(batch: Tensor) -> Tensor:
        with torch.no_grad():
            return model(batch)

    scores = network(pixels)
    drawn = torch.Generator().manual_seed(seed)
    others = [torch.randperm(len(pixels) - 1, generator=drawn) for _ in pixels]
    donors = torch.stack([(o + (o >= i))[: setting.donors] for i, o in enumerate(others)])
    top = scores.max(1)
    return Images(network, pixels, top.indices, top.values.double(), donors)


def regions() -> Tensor:
    """A mask for each region, `[64, 32, 32]` of 0 and 1."""
    places = torch.arange(COUNT**2).view(1, 1, COUNT, COUNT).float()
    numbers = functional.interpolate(places, scale_factor=SIDE)[0, 0]
    return (numbers == torch.arange(COUNT**2).view(-1, 1, 1)).float()


def by_region(heatmaps: Tensor) -> Tensor:
    """The pixels of each region, `[N, 32, 32]` -> `[N, 64, 16]`."""
    tiles = heatmaps.double().unflatten(2, (COUNT, SIDE)).unflatten(1, (COUNT, SIDE))
    return tiles.transpose(2, 3).flatten(3).flatten(1, 2)


@dataclass(frozen=True)
class Effects:
    """What the network does when a region is removed, for each image and region, `[N, 64]`.

    `removal`: f(x) - f(x without the region). `step`: the same for the first hundredth of the way
    there, times a hundred. `reaction`: the magnitude of `step` for single donors, averaged.
    """

    removal: Tensor
    step: Tensor
    reaction: Tensor


def effects_of(images: Images, setting: Setting) -> Effects:
    """Measured once for all methods."""
    masks, places = regions(), range(len(images.pixels))
    full = torch.stack([images.moved(place, masks) for place in places])
    small = torch.stack([images.moved(place, masks, setting.small) for place in places])
    slopes = (images.output[:, None, None] - small) / setting.small
    removal = images.output[:, None] - full.mean(2)
    return Effects(removal, slopes.mean(2), slopes.abs().mean(2))


def continuity(images: Images, way: Heatmaps, setting: Setting) -> Figures:
    """How much does the map change at once where the image changes evenly?

    On a straight path of 32 steps from an image to another: `largest_step`, the largest
    |R_t+1 - R_t| as a share of the largest |R_t|, over the same of the output vector; 1 means that
    the map moves as evenly as what it explains. `stays`: that step over the largest of the same
    path in 8 steps; 0.25 where maps are smooth, 1 where they jump. Maps are not scaled one by one,
    since a map that sums to f passes zero where f does.
    """
    shares = torch.linspace(0, 1, setting.steps + 1)[:, None, None, None]
    ratios, stays = [], []
    for image in range(setting.paths):
        path = torch.lerp(images.pixels[image], images.pixels[images.donors[image, 0]], shares)
        maps = way(path, images.classes[image].expand(len(path)))
        fine, coarse = _largest_step(maps), _largest_step(maps[::4])
        ratios.append(fine / _largest_step(images.network(path)))
        stays.append(fine / coarse)
    return {"largest_step": _mean(torch.stack(ratios)), "stays": _mean(torch.stack(stays))}


def _largest_step(values: Tensor) -> Tensor:
    rows = values.flatten(1).double()
    return rows.diff(dim=0).norm(dim=1).max() / rows.norm(dim=1).max()


def specificity(images: Images, maps: Tensor, setting: Setting) -> Figures:
    """`same_class`: rank correlation of the map with those of other images of its class, averaged.

    1 is the same map for all of a class; 0 is what unrelated maps have, noise among them.
    """
    drawn = torch.Generator().manual_seed(1)
    found = []
    for image, kind in enumerate(images.classes):
        peers = (images.classes == kind).nonzero().flatten()
        peers = peers[peers != image]
        if len(peers):
            chosen = peers[torch.randperm(len(peers), generator=drawn)[: setting.peers]]
            own = maps[image].expand(len(chosen), -1, -1)
            found.append(map_similarity(own, maps[chosen], signed=True).mean())
    return {"same_class": _mean(torch.stack(found))}


def signed_evidence(images: Images, maps: Tensor, setting: Setting) -> Figures:
    """By how much f rises when the five regions with the most negative sums are removed (`raises`)
    or blurred (`raises_blurred`), and the share of images for which removal raises it (`raised`).

    Compare with the regions of a random map. None for maps without negative regions.
    """
    sums, masks = by_region(maps).sum(2), regions()
    soft = blurred(images.pixels, SIDE)
    rises, blurs = [], []
    for image, values in enumerate(sums):
        lowest = values.argsort()[: setting.negative]
        lowest = lowest[values[lowest] < 0]
        if len(lowest):
            together = masks[lowest].sum(0, keepdim=True)
            rises.append(images.moved(image, together).mean() - images.output[image])
            mixed = torch.where(together > 0, soft[image], images.pixels[image])
            blurs.append(images.f(mixed[None], image)[0] - images.output[image])
    if len(rises) < len(sums) / 10:  # a rounding below zero is no evidence
        return {"raises": None, "raises_blurred": None, "raised": None}
    raises = torch.stack(rises)
    return {
        "raises": estimate(raises),
        "raises_blurred": estimate(torch.stack(blurs)),
        "raised": estimate((raises > 0).double()),
    }


def aggregation(maps: Tensor, effects: Effects) -> Figures:
    """`by_sum`: rank correlation, over the regions of an image, of the map's sum over a region and
    the effect of its removal. `over_maximum`, `over_magnitude`: by how much this is above that of
    the region's largest value, and of its mean magnitude.
    """
    tiles = by_region(maps)
    scores = (tiles.sum(2), tiles.amax(2), tiles.abs().mean(2))
    by_sum, by_maximum, by_magnitude = (
        map_similarity(score, effects.removal, signed=True) for score in scores
    )
    return {
        "by_sum": estimate(by_sum),
        "over_maximum": estimate(by_sum - by_maximum),
        "over_magnitude": estimate(by_sum - by_magnitude),
    }


def relation_to_output(images: Images, maps: Tensor) -> Figures:
    """`sum_and_output`: correlation, over images, of the map's sum and f. `share`: their median
    ratio, 1 where the map shares out the whole output.
    """
    sums = maps.double().sum((1, 2))
    pairs = torch.stack([sums, images.output], 1)
    return {
        "sum_and_output": bootstrap(pairs, _pearson),
        "share": bootstrap(pairs, lambda p: (p[..., 0] / p[..., 1]).median(-1).values),
    }


def global_or_local(maps: Tensor, effects: Effects) -> Figures:
    """By how much the rank correlation of the map's sum over a region with the effect of removal is
    above that with the effect of a small step (`over_step`) and with this step's magnitude
    (`over_reaction`): above 0 where the map says what speaks for the class, below where it says
    what the output reacts to.
    """
    sums = by_region(maps).sum(2)
    by_removal, by_step, by_reaction = (
        map_similarity(sums, effect, signed=True)
        for effect in (effects.removal, effects.step, effects.reaction)
    )
    return {
        "over_step": estimate(by_removal - by_step),
        "over_reaction": estimate(by_removal - by_reaction),
    }


def bootstrap(rows: Tensor, figure: Callable[[Tensor], Tensor], seed: int = 0) -> Estimate:
    """A figure of all images `[N, F]` -> scalar, and its interval over 2,000 resamplings."""
    drawn = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(rows), (2000, len(rows)), generator=drawn)
    low, high = figure(rows[chosen]).nan_to_num(0.0).quantile(torch.tensor([0.025, 0.975]).double())
    return Estimate(float(figure(rows).nan_to_num(0.0)), float(low), float(high), rows)


def _pearson(pairs: Tensor) -> Tensor:
    """Over the images of `[..., N, 2]`; NaN where one of both does not vary."""
    centred = pairs - pairs.mean(-2, keepdim=True)
    one, other = centred.unbind(-1)
    return (one * other).sum(-1) / (one.norm(dim=-1) * other.norm(dim=-1))


def _mean(values: Tensor) -> Estimate | None:
    """Of those that there are: a map that is the same all along the path has no ratio."""
    kept = values[torch.isfinite(values)]
    return estimate(kept) if len(kept) else None
