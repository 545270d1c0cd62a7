"""Spatial pyramids against encoders of each region alone."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import relprop
from relprop.classical import (
    BagOfWords,
    Boxes,
    DenseSift,
    FisherVector,
    HistogramIntersection,
    KernelSVC,
    SpatialPyramid,
    SumAlphaBeta,
    SumMagnitude,
)
from relprop.data import photograph
from relprop.errors import InvalidInput

DRAWN = np.random.default_rng(0)
PHOTOS = [photograph(name)[::8, ::8] for name in ("chelsea", "coffee", "brick", "gravel")]
LABELS = [0, 0, 1, 1]
SIFT = DenseSift(step=5, bin_sizes=(4, 6))
FISHER = FisherVector(SIFT, n_components=3, pca=6, random_state=0, reg_covar=1e-4)
ENCODERS = [
    BagOfWords(SIFT, n_words=6, random_state=0),
    BagOfWords(SIFT, n_words=6, mapping="soft", p=np.inf, random_state=0),
    FISHER,
    clone(FISHER).set_params(pixels="bins"),
    clone(FISHER).set_params(rule=SumAlphaBeta()),
    clone(FISHER).set_params(rule=SumMagnitude()),
]


class Part:
    """The same features, but only those in one region of the image."""

    def __init__(self, inside=None):
        self.inside = inside

    def extract(self, image):
        """Descriptors with their centre inside."""
        descriptors, areas = SIFT.extract(image)
        kept = np.array([self.inside(*centre / areas.shape) for centre in areas.centres])
        return descriptors[kept], Boxes(areas.boxes[kept], areas.shape, areas.grid)


# The whole, 2 x 2, three bars.
REGIONS = [
    lambda y, x: True,
    *(
        lambda y, x, i=i, j=j: int(2 * y) == i and int(2 * x) == j
        for i in range(2)
        for j in range(2)
    ),
    *(lambda y, x, i=i: int(3 * y) == i for i in range(3)),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{type(e).__name__}")
def test_equals_each_region_alone(encoder):
    """Vectors region by region; relevance is the sum of what each region alone would share."""
    pyramid = SpatialPyramid(encoder).fit(PHOTOS)
    vectors = pyramid.transform(PHOTOS[:2])
    relevance = DRAWN.standard_normal(vectors.shape)
    found = pyramid.redistribute(PHOTOS[:2], relevance)
    expected, stabiliser, lost = [0, 0], 0, 0
    for region, inside in enumerate(REGIONS):
        own = slice(*(np.array([region, region + 1]) * vectors.shape[1] // 8))
        alone = pyramid.encoder_
        kept, alone.features = alone.features, Part(inside)
        np.testing.assert_allclose(alone.transform(PHOTOS[:2]), vectors[:, own], atol=1e-12)
        part = alone.redistribute(PHOTOS[:2], relevance[:, own])
        alone.features = kept
        expected = [a + b for a, b in zip(expected, part.relevance, strict=True)]
        stabiliser, lost = stabiliser + part.stabiliser, lost + part.lost
    for one, other in zip(found.relevance, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9 * np.abs(other).max())
    np.testing.assert_allclose(found.stabiliser, stabiliser, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.lost, lost, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{type(e).__name__}")
def test_from_score_to_pixels(encoder):
    model = make_pipeline(SpatialPyramid(encoder), LinearSVC(random_state=0)).fit(PHOTOS, LABELS)
    explanation = relprop.explain(model, PHOTOS)
    np.testing.assert_allclose(explanation.output, model.decision_function(PHOTOS))
    assert (explanation.conservation_gap < 1e-10).all()


def test_histogram_intersection_down_to_pixels():
    """The thesis's bag of words: a kernel machine on top, exact down to the pixels."""
    pyramid = SpatialPyramid(BagOfWords(SIFT, n_words=6, random_state=0))
    model = make_pipeline(pyramid, KernelSVC(kernel=HistogramIntersection())).fit(PHOTOS, LABELS)
    explanation = relprop.explain(model, PHOTOS)
    np.testing.assert_allclose(explanation.output, model.decision_function(PHOTOS))
    for relevance, output, bias in zip(
        explanation.relevance, explanation.output, explanation.bias, strict=True
    ):
        scale = np.abs(relevance).sum() + abs(bias)
        assert abs(output - relevance.sum() - bias) < 1e-10 * scale


@pytest.mark.parametrize("encoder", ENCODERS[1:3], ids=["words", "fisher"])
def test_a_region_without_descriptors_loses_its_share(encoder):
    """One descriptor alone: of 2 x 2 regions three are empty, and their vectors zero."""
    image = photograph("brick")[:16, :16]
    pyramid = SpatialPyramid(encoder, levels=((2, 2),)).fit(PHOTOS)
    vectors = pyramid.transform([image]).reshape(4, -1)
    assert vectors.any(1).sum() == 1
    found = pyramid.redistribute([image], np.ones((1, vectors.size)))
    assert found.lost[0] == 3 * vectors.shape[1]
    total = found.relevance[0].sum() + found.stabiliser[0]
    assert total == pytest.approx(vectors.shape[1])


def test_what_does_not_fit():
    with pytest.raises(InvalidInput, match="encoder is a DenseSift; expected a BagOfWords or"):
        SpatialPyramid(SIFT).fit(PHOTOS)
    with pytest.raises(InvalidInput, match=r"levels is \(\(0, 1\),\)"):
        SpatialPyramid(FISHER, levels=((0, 1),)).fit(PHOTOS)
    nested = SpatialPyramid(FISHER).set_params(encoder__features__step=9)
    assert nested.encoder.features.step == 9
    FISHER.features.step = 5
