"""Spatial pyramids: one vector for each region of an image (thesis 2.4.2)."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from ..errors import InvalidInput
from .areas import Areas
from .encoding import Described, DescriptorShares, ImageEncoder
from .regions import Regions
from .shared import Floats


class SpatialPyramid(ImageEncoder):
    """The vectors of an encoder for the whole image and its parts, one after another.

    A descriptor belongs to the regions that its centre lies in; it is mapped once. Each region's
    vector is normalised by itself.

    Attributes:
        encoder: a `BagOfWords` or `FisherVector`; `fit` fits a copy, `encoder_`.
        levels: grids of rows x columns; the default is the whole, 2 x 2, and three horizontal
            bars: 8 regions.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        *,
        levels: tuple[tuple[int, int], ...] = ((1, 1), (2, 2), (3, 1)),
    ) -> None:
        self.encoder = encoder
        self.levels = levels

    def fit(self, images: Any, y: Any = None) -> SpatialPyramid:
        """Fit a copy of the encoder on whole images. Raises InvalidInput for other levels."""
        if not isinstance(self.encoder, ImageEncoder):
            raise InvalidInput(
                f"encoder is a {type(self.encoder).__name__}; expected a BagOfWords or FisherVector"
            )
        if not self.levels or not all(rows >= 1 and columns >= 1 for rows, columns in self.levels):
            raise InvalidInput(f"levels is {self.levels}; expected pairs (rows, columns) from 1 on")
        self.encoder_ = clone(self.encoder).fit(images, y)
        return self

    def describe(self, image: Any) -> Described:
        """As the encoder does."""
        return self.encoder_.describe(image)

    def regions(self, areas: Areas) -> Regions:
        """The regions of all levels, level after level, each row by row."""
        return Regions.grids(areas.centres, areas.shape, tuple(self.levels))

    def pool(self, described: Described, regions: Regions) -> Floats:
        """`[R, V]`: as the encoder does."""
        return self.encoder_.pool(described, regions)

    def share(self, described: Described, regions: Regions, relevance: Floats) -> DescriptorShares:
        """As the encoder does."""
        return self.encoder_.share(described, regions, relevance)
