"""Mappings, pooling and bags of words against loops over descriptors and words."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import relprop
from relprop.classical import BagOfWords, Boxes, DenseSift, Hard, Rank, Soft
from relprop.classical.pooling import p_means, p_shares
from relprop.data import photograph
from relprop.errors import InvalidInput, UnknownName

DRAWN = np.random.default_rng(0)
DESCRIPTORS = DRAWN.standard_normal((30, 5))
WORDS = DRAWN.standard_normal((7, 5))
PHOTOS = [photograph(name)[::8, ::8] for name in ("chelsea", "coffee", "brick", "gravel")]
LABELS = [0, 0, 1, 1]
SIFT = DenseSift(step=5, bin_sizes=(4, 6))


def dense(mapped):
    return mapped.toarray() if sparse.issparse(mapped) else mapped


def distances():
    return np.array([[((own - word) ** 2).sum() for word in WORDS] for own in DESCRIPTORS])


def test_hard():
    expected = np.zeros((30, 7))
    for row, own in enumerate(distances()):
        expected[row, own.argmin()] = 1
    np.testing.assert_array_equal(dense(Hard()(DESCRIPTORS, WORDS)), expected)


def test_soft():
    shares = np.exp(-0.7 * distances())
    expected = shares / shares.sum(1, keepdims=True)
    np.testing.assert_allclose(Soft(beta=0.7)(DESCRIPTORS, WORDS), expected)


@pytest.mark.parametrize(("base", "nearest"), [(2, 4), (3.0, 1), (1.5, 99)])
def test_rank(base, nearest):
    expected = np.zeros((30, 7))
    for row, own in enumerate(distances()):
        for rank, word in enumerate(own.argsort()[:nearest], start=1):
            expected[row, word] = base**-rank
    found = Rank(base=base, nearest=nearest)(DESCRIPTORS, WORDS)
    np.testing.assert_allclose(dense(found), expected)


def p_mean(column, p):
    return column.max() if np.isinf(p) else np.mean(column**p) ** (1 / p)


def shares_by_loops(mapped, relevance, p):
    found = np.zeros(len(mapped))
    for column, own in zip(mapped.T, relevance, strict=True):
        most = column.max()
        terms = (column == most) * (most > 0) if np.isinf(p) else column**p
        found += own / len(mapped) if terms.sum() == 0 else own * terms / terms.sum()
    return found


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("p", [1, 2, 3.5, np.inf])
def test_pooling_equals_loops(p, form):
    """With ties at the maximum, and a word that no descriptor reached (2.79)."""
    mapped = DRAWN.random((20, 6)).round(1) * (DRAWN.random((20, 6)) < 0.5)
    mapped[:, 2] = 0
    mapped[:3, 4] = 1
    relevance = DRAWN.standard_normal(6)
    np.testing.assert_allclose(p_means(form(mapped), p), [p_mean(c, p) for c in mapped.T])
    found, stabiliser = p_shares(form(mapped), relevance, p)
    np.testing.assert_allclose(found, shares_by_loops(mapped, relevance, p), atol=1e-15)
    assert found.sum() == pytest.approx(relevance.sum())
    assert stabiliser == 0


def test_large_p_does_not_underflow():
    mapped = np.array([[1e-3], [2e-3], [1e-4]])
    assert p_means(mapped, 400) == pytest.approx(2e-3 * 3 ** (-1 / 400))
    np.testing.assert_allclose(p_shares(mapped, np.ones(1), 400)[0], [0, 1, 0], atol=1e-100)


def test_signed_mappings_need_a_natural_p():
    """And sums that cancel are tested, not their terms."""
    mapped = np.array([[1.0, 2.0], [-1.0, -1.0]])
    for p in (0.5, np.inf):
        with pytest.raises(InvalidInput, match="negative values, and p-means with"):
            p_means(mapped, p)
    np.testing.assert_allclose(p_means(mapped, 1), [0, 0.5])
    evenly, _ = p_shares(mapped, np.array([1.0, 0.0]), 1)
    np.testing.assert_allclose(evenly, [0.5, 0.5])
    shares, took = p_shares(mapped, np.array([1.0, 3.0]), 1, epsilon=0.5)
    np.testing.assert_allclose(shares, [1 / 0.5 + 3 * 1 / 1, -1 / 0.5 - 3 * 0.5 / 1])
    assert shares.sum() + took == pytest.approx(4)


@pytest.mark.parametrize("p", [0, -1])
def test_p_is_positive(p):
    with pytest.raises(InvalidInput, match=f"p is {p}; expected above 0"):
        p_means(np.ones((2, 2)), p)


@pytest.mark.parametrize("mapping", ["hard", "soft", "rank", Rank(base=3, nearest=2)])
@pytest.mark.parametrize("p", [1, 2, np.inf])
def test_from_score_to_pixels(mapping, p):
    """f = sum of pixels + bias, to 1e-10 of it."""
    words = BagOfWords(SIFT, n_words=12, mapping=mapping, p=p, random_state=0)
    model = make_pipeline(words, LinearSVC(random_state=0)).fit(PHOTOS, LABELS)
    explanation = relprop.explain(model, PHOTOS)
    np.testing.assert_allclose(explanation.output, model.decision_function(PHOTOS))
    for relevance, photo, output, bias in zip(
        explanation.relevance, PHOTOS, explanation.output, explanation.bias, strict=True
    ):
        assert relevance.shape == photo.shape[:2]
        scale = np.abs(relevance).sum() + abs(bias)
        assert abs(output - relevance.sum() - bias) < 1e-10 * scale


def test_relevance_equals_loops():
    """From a histogram's relevance to pixels, descriptor by descriptor."""
    words = BagOfWords(SIFT, n_words=9, p=2, random_state=0).fit(PHOTOS)
    relevance = DRAWN.standard_normal((1, 9))
    descriptors, areas = SIFT.extract(PHOTOS[0])
    mapped = dense(Rank()(descriptors, words.words_))
    own = shares_by_loops(mapped, relevance[0], 2)
    expected = Boxes(areas.boxes, areas.shape).to_pixels(own)
    found = words.redistribute(PHOTOS[:1], relevance)
    np.testing.assert_allclose(found.relevance[0], expected, atol=1e-12)
    histogram = np.array([p_mean(column, 2) for column in mapped.T])
    np.testing.assert_allclose(words.transform(PHOTOS[:1])[0], histogram / histogram.sum())


class Quantiles:
    """Local features of another kind: grey quantiles of patches."""

    def extract(self, image):
        """9 quantiles of each 8 x 8 patch."""
        grey = np.asarray(image).mean(2) / 255
        corners = [
            (y, x) for y in range(0, grey.shape[0] - 7, 8) for x in range(0, grey.shape[1] - 7, 8)
        ]
        patches = np.array([grey[y : y + 8, x : x + 8].ravel() for y, x in corners])
        boxes = np.array([[y, x, y + 8, x + 8] for y, x in corners])
        return np.quantile(patches, np.linspace(0, 1, 9), axis=1).T, Boxes(boxes, grey.shape)


class Coding:
    """A coding of one's own: distances to words, of both signs."""

    def __call__(self, descriptors, words):
        """`[N, K]`."""
        return descriptors @ words.T - 1


def test_anything_that_yields_descriptors_and_areas():
    words = BagOfWords(Quantiles(), n_words=6, mapping=Coding(), epsilon=0.1, random_state=0)
    model = make_pipeline(clone(words), LinearSVC(random_state=0)).fit(PHOTOS, LABELS)
    explanation = relprop.explain(model, PHOTOS)
    assert (explanation.conservation_gap < 1e-10).all()
    one = explanation.relevance[0]
    assert np.ptp(one[:8, :8]) < 1e-12 * np.abs(one).max()


def test_parameters_are_scikit_learns():
    """parametrize_with_checks feeds tables, and does not apply to lists of images."""
    words = BagOfWords(SIFT, n_words=5, mapping="hard")
    again = clone(words).set_params(features__step=9, p=2)
    assert again.get_params()["features__step"] == 9
    assert words.features.step == 5
    model = make_pipeline(words, LinearSVC()).set_params(bagofwords__n_words=4)
    assert model.fit(PHOTOS, LABELS).predict(PHOTOS).shape == (4,)


def test_what_does_not_fit():
    with pytest.raises(UnknownName, match="unknown mapping 'best'; there are: hard, rank, soft"):
        BagOfWords(SIFT, mapping="best").fit(PHOTOS)
    with pytest.raises(InvalidInput, match="descriptors to learn 100000 words from"):
        BagOfWords(SIFT, n_words=100_000).fit(PHOTOS)
    words = BagOfWords(SIFT, n_words=5, random_state=0).fit(PHOTOS)
    with pytest.raises(InvalidInput, match=r"a single image goes into a list"):
        words.transform(PHOTOS[0][:, :, 0])
    with pytest.raises(InvalidInput, match="expected a list of images with one at least"):
        words.transform([])
    with pytest.raises(InvalidInput, match=r"relevance is \[1, 5\]; expected one row for each"):
        words.redistribute(PHOTOS, np.ones((1, 5)))
    with pytest.raises(InvalidInput, match=r"relevance is \[1, 4\]; the vectors are \[1, 5\]"):
        words.redistribute(PHOTOS[:1], np.ones((1, 4)))
    for options, message in (({"base": 1}, "base is 1"), ({"nearest": 0}, "nearest is 0")):
        with pytest.raises(InvalidInput, match=message):
            Rank(**options)
    with pytest.raises(InvalidInput, match="beta is 0"):
        Soft(beta=0)
