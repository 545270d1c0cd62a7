"""Bags of visual words, with the way back to pixels (thesis 2.4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_random_state

from ..errors import InvalidInput, UnknownName
from .areas import Areas, LocalFeatures
from .encoding import Described, DescriptorShares, ImageEncoder, extracted, sampled
from .images import check_images
from .mapping import MAPPINGS, Mapping
from .pooling import p_means, p_shares
from .regions import Regions
from .shared import Floats


class BagOfWords(ImageEncoder):
    """One histogram of visual words an image.

    Attributes:
        features: what has `extract(image) -> (descriptors, areas)`, such as `DenseSift`.
        n_words: K of k-means (MiniBatchKMeans).
        mapping: "hard", "soft", "rank", or a mapping: `Rank(nearest=4)`, a coding of your own.
        p: of the p-means that pool mapped descriptors: 1 sums, infinity takes the maximum (2.65).
        l1: scale a histogram to sum |x| = 1. Relevance passes it unchanged.
        epsilon: added to sums when relevance is shared; for mappings with negative values.
        samples: descriptors that words are learned from, at most.
        max_iter, verbose: as in scikit-learn's MiniBatchKMeans.

    After `fit`: `words_` `[K, D]`.
    """

    def __init__(
        self,
        features: LocalFeatures,
        *,
        n_words: int = 256,
        mapping: str | Mapping = "rank",
        p: float = 1.0,
        l1: bool = True,
        epsilon: float = 0.0,
        samples: int = 100_000,
        max_iter: int = 100,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.features = features
        self.n_words = n_words
        self.mapping = mapping
        self.p = p
        self.l1 = l1
        self.epsilon = epsilon
        self.samples = samples
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, images: Any, y: Any = None) -> BagOfWords:
        """Learn words from descriptors of these images; y is not read.

        Raises UnknownName for an unknown mapping, InvalidInput for too few descriptors.
        """
        self._mapping()
        random = check_random_state(self.random_state)
        descriptors = sampled(self.features, check_images(images), self.samples, random)
        if len(descriptors) < self.n_words:
            raise InvalidInput(
                f"{len(descriptors)} descriptors to learn {self.n_words} words from: give more "
                "images, or a smaller n_words"
            )
        found = MiniBatchKMeans(
            self.n_words,
            max_iter=self.max_iter,
            batch_size=max(1024, 4 * self.n_words),
            n_init=1,
            random_state=random,
            verbose=self.verbose,
        ).fit(descriptors)
        return self.use(found.cluster_centers_)

    def use(self, words: Any) -> BagOfWords:
        """Take words `[K, D]` learned elsewhere; no `fit`."""
        self.words_ = np.asarray(words, dtype=np.float64)
        return self

    def describe(self, image: Any) -> Described:
        """The descriptors of an image, mapped onto the words."""
        descriptors, areas = extracted(self.features, image)
        mapped = self._mapping()(descriptors, self.words_)
        expected = (len(descriptors), len(self.words_))
        if mapped.shape != expected:
            raise InvalidInput(f"the mapping returned {mapped.shape}; expected {expected}")
        if not sparse.issparse(mapped):
            return Described(areas, mapped, mapped.nbytes)
        rows = mapped.tocsr()
        return Described(areas, rows, rows.data.nbytes + rows.indices.nbytes)

    def regions(self, areas: Areas) -> Regions:
        """The whole image."""
        return Regions.whole(len(areas))

    def pool(self, described: Described, regions: Regions) -> Floats:
        """`[R, K]`: a histogram a region; zeros where a region has no descriptor."""
        found = np.zeros((len(regions), len(self.words_)))
        for region in regions.filled:
            found[region] = p_means(described.state[regions.inside(region)], self.p)
        if self.l1:
            lengths = np.abs(found).sum(1, keepdims=True)
            found /= np.where(lengths > 0, lengths, 1)
        return found

    def share(self, described: Described, regions: Regions, relevance: Floats) -> DescriptorShares:
        """Relevance of descriptors `[N]`; a region without descriptors loses what it received."""
        found = np.zeros(len(described.areas))
        stabiliser = 0.0
        for region in regions.filled:
            inside = regions.inside(region)
            own, took = p_shares(described.state[inside], relevance[region], self.p, self.epsilon)
            found[inside] += own
            stabiliser += took
        lost = float(relevance[regions.counts == 0].sum())
        return DescriptorShares(found, stabiliser=stabiliser, lost=lost)

    def _mapping(self) -> Mapping:
        if callable(self.mapping):
            return self.mapping
        if self.mapping not in MAPPINGS:
            raise UnknownName("mapping", self.mapping, MAPPINGS)
        return MAPPINGS[self.mapping]
