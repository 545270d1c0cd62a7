"""Fisher vectors of local features, with the way back to pixels (thesis 4.2, 4.3, D)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state

from ..errors import InvalidInput, UnknownName
from .areas import Areas, LocalFeatures
from .encoding import Described, DescriptorShares, ImageEncoder, extracted, sampled
from .fisher_rules import SumEpsilon, SumRule
from .fisher_terms import BLOCKS, Layout, Terms
from .images import check_images
from .mixture import Mixture
from .projection import Projection
from .regions import Regions
from .shared import Floats

PIXELS = ("areas", "bins")


class FisherVector(ImageEncoder):
    """One vector an image: how its local features would change a Gaussian mixture (4.1-4.3).

    Attributes:
        features: what has `extract(image) -> (descriptors, areas)`, such as `DenseSift`.
        n_components: K of the mixture.
        pca: components that descriptors are projected to before; None leaves them.
        blocks: which of "weights", "means", "deviations", in this order in the vector.
        power: each component becomes sign(x) |x|^power; 1 leaves it.
        l2: then the vector is scaled to unit length. Relevance passes both unchanged (4.3).
        rule: how relevance is shared among descriptors: `SumEpsilon`, `SumAlphaBeta`,
            `SumMagnitude`.
        pixels: "areas" spreads a descriptor's relevance evenly over its area (2.85); "bins" undoes
            the projection, as `projection` says, and spreads part by part (appendix D).
        samples: descriptors that PCA and mixture are learned from, at most.
        max_iter, reg_covar, verbose: as in scikit-learn's GaussianMixture.

    After `fit`: `projection_`, `mixture_`, `layout_`.
    """

    def __init__(
        self,
        features: LocalFeatures,
        *,
        n_components: int = 64,
        pca: int | None = 80,
        blocks: tuple[str, ...] = BLOCKS,
        power: float = 0.5,
        l2: bool = True,
        rule: SumRule = SumEpsilon(),  # noqa: B008 - frozen
        pixels: str = "areas",
        projection: str = "centred",
        samples: int = 100_000,
        max_iter: int = 100,
        reg_covar: float = 1e-6,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.features = features
        self.n_components = n_components
        self.pca = pca
        self.blocks = blocks
        self.power = power
        self.l2 = l2
        self.rule = rule
        self.pixels = pixels
        self.projection = projection
        self.samples = samples
        self.max_iter = max_iter
        self.reg_covar = reg_covar
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, images: Any, y: Any = None) -> FisherVector:
        """Learn PCA and mixture from descriptors of these images; y is not read.

        Raises InvalidInput for parameters out of range and too few descriptors.
        """
        self._check()
        random = check_random_state(self.random_state)
        descriptors = sampled(self.features, check_images(images), self.samples, random)
        least = max(self.n_components, self.pca or 0)
        if len(descriptors) < least:
            raise InvalidInput(
                f"{len(descriptors)} descriptors to learn from; n_components={self.n_components} "
                f"and pca={self.pca} need {least}"
            )
        if self.pca is not None:
            fitted = PCA(self.pca, random_state=random).fit(descriptors)
            self.projection_: Projection | None = Projection.of(fitted)
            descriptors = self.projection_(descriptors)
        else:
            self.projection_ = None
        mixture = GaussianMixture(
            self.n_components,
            covariance_type="diag",
            max_iter=self.max_iter,
            reg_covar=self.reg_covar,
            random_state=random,
            verbose=self.verbose,
        ).fit(descriptors)
        return self.use(mixture, self.projection_)

    def use(self, mixture: Any, projection: Any = None) -> FisherVector:
        """Take a mixture (and a projection: PCA or `Projection`) learned elsewhere; no `fit`.

        Raises InvalidInput where they do not fit together.
        """
        self._check()
        self.mixture_ = mixture if isinstance(mixture, Mixture) else Mixture.of(mixture)
        kept = projection is None or isinstance(projection, Projection)
        self.projection_ = projection if kept else Projection.of(projection)
        components, width = self.mixture_.means.shape
        if self.projection_ is not None and len(self.projection_.directions) != width:
            raise InvalidInput(
                f"the projection has {len(self.projection_.directions)} components, the mixture "
                f"{width} dimensions"
            )
        self.layout_ = Layout(tuple(self.blocks), components, width)
        return self

    def reduce(self, descriptors: Any) -> Floats:
        """Descriptors `[N, D]` as the mixture has them."""
        if self.projection_ is not None:
            return self.projection_(descriptors)
        return np.asarray(descriptors, dtype=np.float64)

    def encode(self, reduced: Any) -> Floats:
        """`[V]`: the sum of what reduced descriptors `[N, D]` add, not normalised (eq. C.2)."""
        terms = self._terms(np.asarray(reduced, dtype=np.float64))
        whole = Regions.whole(len(terms.values))
        return terms.sums(terms.statistics(whole)[0], len(terms.values))

    def normalise(self, sums: Any, counts: Any) -> Floats:
        """Sums `[n, V]` over `counts` `[n]` descriptors -> vectors `[n, V]` (4.5, power, l2)."""
        found = np.asarray(sums, dtype=np.float64) / np.maximum(counts, 1)[:, None]
        found = np.sign(found) * np.abs(found) ** self.power
        if self.l2:
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            found = found / np.where(lengths > 0, lengths, 1)
        return np.asarray(found, dtype=np.float64)

    def describe(self, image: Any) -> Described:
        """The reduced descriptors of an image, with their posteriors."""
        descriptors, areas = extracted(self.features, image)
        terms = self._terms(self.reduce(descriptors))
        kept = descriptors if self.pixels == "bins" and self.projection_ is not None else None
        nbytes = terms.values.nbytes + terms.posteriors.nbytes
        nbytes += 0 if kept is None else kept.nbytes
        return Described(areas, (terms, kept), nbytes)

    def regions(self, areas: Areas) -> Regions:
        """The whole image."""
        return Regions.whole(len(areas))

    def pool(self, described: Described, regions: Regions) -> Floats:
        """`[R, V]`: a normalised vector a region; zeros where a region has no descriptor."""
        terms, _ = described.state
        statistics = zip(terms.statistics(regions), regions.counts, strict=True)
        sums = [terms.sums(own, count) for own, count in statistics]
        return self.normalise(np.stack(sums), regions.counts)

    def share(self, described: Described, regions: Regions, relevance: Floats) -> DescriptorShares:
        """Relevance of descriptors `[N]`, or of their components before the projection."""
        terms, descriptors = described.state
        by_part = self.pixels == "bins"
        found = self.rule.share(terms, regions, relevance, parts=by_part)
        if not by_part or self.projection_ is None:
            return found
        undone = self.projection_.back(
            descriptors, terms.values, found.relevance, self.projection == "centred"
        )
        return DescriptorShares(
            undone.relevance,
            bias=undone.bias,
            stabiliser=found.stabiliser + undone.stabiliser,
            lost=found.lost,
        )

    def _terms(self, values: Floats) -> Terms:
        return Terms(self.mixture_, self.layout_, values, self.mixture_.posteriors(values))

    def _check(self) -> None:
        unknown = [name for name in self.blocks if name not in BLOCKS]
        if unknown:
            raise UnknownName("block", unknown[0], BLOCKS)
        if not self.blocks or len(set(self.blocks)) < len(self.blocks):
            raise InvalidInput(f"blocks is {self.blocks}; expected one or more, each once")
        if self.pixels not in PIXELS:
            raise UnknownName("pixels", self.pixels, PIXELS)
        if self.projection not in ("centred", "raw"):
            raise UnknownName("projection", self.projection, ("centred", "raw"))
        if not 0 < self.power <= 1:
            raise InvalidInput(f"power is {self.power!r}; expected above 0, up to 1")
        if not hasattr(self.features, "extract"):
            raise InvalidInput(
                f"features is a {type(self.features).__name__}; it needs "
                "extract(image) -> (descriptors, areas), as DenseSift has"
            )
