"""Images to vectors and back: what all encoders of local features share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..errors import InvalidInput
from .areas import Areas, LocalFeatures
from .images import check_images
from .regions import Regions
from .shared import Floats, Shared

KEPT = 2**30  # bytes of descriptors that a recording may keep; beyond, images are read again


@dataclass(frozen=True, eq=False)
class Described:
    """One image's descriptors as an encoder keeps them between predicting and explaining."""

    areas: Areas
    state: Any
    nbytes: int


@dataclass(frozen=True, eq=False)
class DescriptorShares:
    """Relevance of descriptors `[N]` or of their components `[N, D]`, and what went elsewhere."""

    relevance: Floats
    bias: float = 0.0
    stabiliser: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, eq=False)
class Recorded:
    """Vectors `output` `[n, V]` of images, with a way back that does not read the images again."""

    output: Floats
    _back: Callable[[int], tuple[Described, Regions]]
    _share: Callable[[Described, Regions, Floats], DescriptorShares]

    def descriptors(self, relevance: Any) -> list[DescriptorShares]:
        """Relevance `[n, V]` of the vectors -> that of each image's descriptors."""
        return [self._shares(index, own)[1] for index, own in enumerate(self._checked(relevance))]

    def redistribute(self, relevance: Any) -> Shared:
        """Relevance `[n, V]` of the vectors -> one map `[H, W]` an image.

        Raises InvalidInput for another shape.
        """
        maps, figures = [], []
        for index, own in enumerate(self._checked(relevance)):
            areas, shares = self._shares(index, own)
            maps.append(areas.to_pixels(shares.relevance))
            figures.append((shares.bias, shares.stabiliser, shares.lost))
        return Shared(maps, *np.array(figures).T)

    def _checked(self, relevance: Any) -> Floats:
        found = np.asarray(relevance, dtype=np.float64)
        if found.shape != self.output.shape:
            raise InvalidInput(
                f"relevance is {list(found.shape)}; the vectors are {list(self.output.shape)}"
            )
        return found

    def _shares(self, index: int, relevance: Floats) -> tuple[Areas, DescriptorShares]:
        described, regions = self._back(index)
        own = relevance.reshape(len(regions), -1)
        return described.areas, self._share(described, regions, own)


class ImageEncoder(TransformerMixin, BaseEstimator, ABC):
    """A transformer of lists of images that can send relevance back to their pixels.

    Images are `[H, W]` or `[H, W, 3]`, uint8 or floats in [0, 1]; sizes may differ.
    """

    @abstractmethod
    def describe(self, image: Any) -> Described:
        """Local features of an image, as far as they do not depend on regions."""

    @abstractmethod
    def regions(self, areas: Areas) -> Regions:
        """The regions that have a vector of their own."""

    @abstractmethod
    def pool(self, described: Described, regions: Regions) -> Floats:
        """`[R, V]`: one vector a region, normalised."""

    @abstractmethod
    def share(self, described: Described, regions: Regions, relevance: Floats) -> DescriptorShares:
        """Relevance `[R, V]` of the vectors -> that of the descriptors."""

    def transform(self, images: Any) -> Floats:
        """`[n, V]`: a vector for each image."""
        located = (self._located(image) for image in self._checked(images))
        return np.stack([self.pool(described, regions).ravel() for described, regions in located])

    def record(self, images: Any) -> Recorded:
        """`transform` with a way back: `.output` and `.redistribute(relevance)`.

        Descriptors are kept up to 1 GiB in all; images beyond are read again on the way back.
        """
        found = self._checked(images)
        vectors, kept, free = [], {}, KEPT
        for index, image in enumerate(found):
            described, regions = self._located(image)
            vectors.append(self.pool(described, regions).ravel())
            if described.nbytes <= free:
                kept[index], free = (described, regions), free - described.nbytes

        def back(index: int) -> tuple[Described, Regions]:
            return kept.get(index) or self._located(found[index])

        return Recorded(np.stack(vectors), back, self.share)

    def redistribute(self, images: Any, relevance: Any) -> Shared:
        """Relevance `[n, V]` of the vectors -> one map `[H, W]` an image, image after image.

        What is returned adds up to the relevance: see `Shared`. `record` spares the second reading
        of the images. Raises InvalidInput for other shapes.
        """
        found = self._checked(images)
        received = np.asarray(relevance, dtype=np.float64)
        if received.ndim != 2 or len(received) != len(found):
            raise InvalidInput(
                f"relevance is {list(received.shape)}; expected one row for each of "
                f"{len(found)} images"
            )
        parts = [
            self.record([image]).redistribute(own[None])
            for image, own in zip(found, received, strict=True)
        ]
        figures = ("bias", "stabiliser", "lost")
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in figures)
        return Shared([part.relevance[0] for part in parts], *joined)

    def _checked(self, images: Any) -> Sequence[Any]:
        check_is_fitted(self)
        return check_images(images)

    def _located(self, image: Any) -> tuple[Described, Regions]:
        described = self.describe(image)
        return described, self.regions(described.areas)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # images of different sizes are no array
        return tags


def extracted(features: LocalFeatures, image: Any) -> tuple[Any, Areas]:
    """Descriptors `[N, D]` and areas of an image; raises InvalidInput where they do not fit."""
    descriptors, areas = features.extract(image)
    if np.ndim(descriptors) != 2 or len(descriptors) == 0 or len(descriptors) != len(areas):
        raise InvalidInput(
            f"{type(features).__name__}.extract returned descriptors {list(np.shape(descriptors))} "
            f"and {len(areas)} areas; expected [N, D] and N, with N at least 1"
        )
    return descriptors, areas


def sampled(
    features: LocalFeatures, images: Sequence[Any], most: int, random: np.random.RandomState
) -> Floats:
    """At most `most` descriptors for learning, float64, as many from each image as it allows."""
    share = max(1, most // len(images))
    found = []
    for image in images:
        descriptors, _ = extracted(features, image)
        if len(descriptors) > share:
            descriptors = descriptors[random.permutation(len(descriptors))[:share]]
        found.append(np.asarray(descriptors, dtype=np.float64))
    widths = {own.shape[1] for own in found}
    if len(widths) > 1:
        raise InvalidInput(f"descriptors have {sorted(widths)} components; expected one number")
    return np.concatenate(found)
