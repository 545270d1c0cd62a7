"""Fisher vectors against scikit-image, and relevance against the whole table of terms."""

import numpy as np
import pytest
import torch
from skimage.feature import fisher_vector
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import relprop
from relprop.classical import (
    Boxes,
    DenseSift,
    FisherVector,
    Mixture,
    SumAlphaBeta,
    SumEpsilon,
    SumMagnitude,
)
from relprop.classical.fisher_terms import BLOCKS
from relprop.data import photograph
from relprop.errors import InvalidInput, UnknownName
from relprop.evaluation import perturb_descriptors

from . import slow

DRAWN = np.random.default_rng(0)
PHOTOS = [photograph(name)[::8, ::8] for name in ("chelsea", "coffee", "brick", "gravel")]
LABELS = [0, 0, 1, 1]
SIFT = DenseSift(step=5, bin_sizes=(4, 6))
COUNT, WIDTH, COMPONENTS = 50, 3, 4
VALUES = DRAWN.standard_normal((COUNT, WIDTH))
MIXTURE = GaussianMixture(COMPONENTS, covariance_type="diag", random_state=0).fit(VALUES)
PARTS = (MIXTURE.weights_, MIXTURE.means_, np.sqrt(MIXTURE.covariances_))
RULES = [
    SumEpsilon(),
    SumEpsilon(0),
    SumEpsilon(1),
    SumEpsilon(100),
    SumAlphaBeta(),
    SumAlphaBeta(1, 0),
    SumMagnitude(),
]


class Given:
    """Descriptors that are the image itself, 3 numbers a pixel: each has its own pixel."""

    def extract(self, image):
        """A descriptor for each pixel."""
        rows, columns = (index.ravel() for index in np.indices(image.shape[:2]))
        boxes = np.stack([rows, columns, rows + 1, columns + 1], 1)
        return image.reshape(-1, 3), Boxes(boxes, image.shape[:2])


IMAGE = VALUES.reshape(5, 10, WIDTH)


def fisher(**options):
    return FisherVector(Given(), pca=None, **options).use(MIXTURE)


def fitted(**options):
    options = {"n_components": 5, "pca": 12, "random_state": 0, "reg_covar": 1e-4, **options}
    return FisherVector(SIFT, **options).fit(PHOTOS)


def test_equals_scikit_image():
    """Whose deviations have the opposite sign."""
    signs = np.repeat([1, 1, -1], [COMPONENTS, COMPONENTS * WIDTH, COMPONENTS * WIDTH])
    for improved, options in ((False, {"power": 1, "l2": False}), (True, {})):
        expected = fisher_vector(VALUES, MIXTURE, improved=improved) * signs
        found = fisher(**options).transform([IMAGE])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_equals_scikit_image_on_a_photograph():
    """With SIFT, PCA, and a component as narrow as flat patches make it."""
    found = fitted(power=1, l2=False, reg_covar=1e-8)
    descriptors, _ = SIFT.extract(PHOTOS[0])
    mixture = GaussianMixture(5, covariance_type="diag")
    mixture.weights_, mixture.means_ = found.mixture_.weights, found.mixture_.means
    mixture.covariances_ = found.mixture_.deviations**2
    mixture.precisions_cholesky_ = 1 / found.mixture_.deviations
    expected = fisher_vector(found.reduce(descriptors), mixture)
    expected[5 + 5 * 12 :] *= -1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.transform(PHOTOS[:1])[0], expected, atol=1e-6 * scale)


def test_posteriors_equal_densities():
    found = Mixture.of(MIXTURE).posteriors(VALUES)
    np.testing.assert_allclose(found, slow.posteriors(VALUES, *PARTS), atol=1e-13)
    np.testing.assert_allclose(found, MIXTURE.predict_proba(VALUES), atol=1e-12)


def shares(terms, relevance, rule):
    """The table of shares `[N, V]` by each rule's definition; what epsilon took; what was lost."""
    if isinstance(rule, SumMagnitude):
        return np.abs(terms) / np.abs(terms).sum(0) * relevance, 0, 0
    if isinstance(rule, SumEpsilon):
        epsilon = 1.45e-3 * len(terms) if rule.epsilon is None else rule.epsilon
        sums = terms.sum(0)
        found = terms / (sums + epsilon * np.sign(sums)) * relevance
        return found, relevance.sum() - found.sum(), 0
    found, lost = np.zeros_like(terms), 0.0
    for part, weight in ((np.maximum(terms, 0), rule.alpha), (np.minimum(terms, 0), rule.beta)):
        for v, total in enumerate(part.sum(0)):
            if total == 0:
                lost += weight * relevance[v]
            else:
                found[:, v] += weight * part[:, v] / total * relevance[v]
    return found, 0, lost


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("blocks", [BLOCKS, ("deviations",), ("means", "weights")])
@pytest.mark.parametrize("one_sided", [False, True])
def test_relevance_equals_the_table_of_terms(rule, blocks, one_sided):
    """Every rule, in all and by component; also where a dimension has terms of one sign only."""
    image = IMAGE + 5 * one_sided
    terms, component = slow.fisher_terms(image.reshape(-1, WIDTH), *PARTS)
    sizes = {"weights": COMPONENTS, "means": COMPONENTS * WIDTH, "deviations": COMPONENTS * WIDTH}
    starts = {"weights": 0, "means": COMPONENTS, "deviations": COMPONENTS * (1 + WIDTH)}
    picked = np.concatenate([starts[name] + np.arange(sizes[name]) for name in blocks])
    terms, component = terms[:, picked], component[picked]
    reached = np.abs(terms).sum(0) > 0
    relevance = DRAWN.standard_normal(len(picked)) * reached
    expected, stabiliser, lost = shares(np.where(reached, terms, 1e-9), relevance, rule)
    in_all, by_part = (
        fisher(rule=rule, blocks=blocks, pixels=pixels) for pixels in ("areas", "bins")
    )
    np.testing.assert_allclose(in_all.encode(image.reshape(-1, WIDTH)), terms.sum(0), atol=1e-9)
    found = in_all.redistribute([image], relevance[None])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        found.relevance[0].ravel(), expected.sum(1), rtol=1e-7, atol=1e-9 * scale
    )
    assert found.stabiliser[0] == pytest.approx(stabiliser, rel=1e-7, abs=1e-9 * scale)
    assert found.lost[0] == pytest.approx(lost, rel=1e-9, abs=1e-12)
    (parts,) = by_part.record([image]).descriptors(relevance[None])
    np.testing.assert_allclose(
        parts.relevance,
        slow.by_component(expected, component, WIDTH),
        rtol=1e-7,
        atol=1e-9 * scale,
    )


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_no_descriptor_reached_is_spread_evenly(rule):
    """2.79: a component so far away that its posteriors are exactly zero."""
    weights, means, deviations = (
        np.array([0.5, 0.5]),
        np.array([[0.0] * 3, [1e3] * 3]),
        np.full((2, 3), 0.5),
    )
    found = FisherVector(Given(), pca=None, rule=rule, blocks=("means",)).use(
        Mixture(weights, means, deviations)
    )
    relevance = np.array([[0, 0, 0, 1.0, 2.0, -0.5]])
    maps = found.redistribute([IMAGE], relevance).relevance[0]
    np.testing.assert_allclose(maps, 2.5 / COUNT)


@pytest.mark.parametrize("pixels", ["areas", "bins"])
@pytest.mark.parametrize("projection", ["centred", "raw"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_from_score_to_pixels(rule, pixels, projection):
    """f = pixels + bias + stabiliser + lost, to 1e-10 of what went around."""
    encoder = fitted(rule=rule, pixels=pixels, projection=projection)
    model = make_pipeline(encoder, LinearSVC(random_state=0))
    model[-1].fit(encoder.transform(PHOTOS), LABELS)
    explanation = relprop.explain(model, PHOTOS)
    np.testing.assert_allclose(explanation.output, model.decision_function(PHOTOS))
    assert [one.shape for one in explanation.relevance] == [p.shape[:2] for p in PHOTOS]
    assert (explanation.conservation_gap < 1e-10).all()


def test_bins_equal_loops():
    """PCA undone component by component, then each of 16 bins to its own pixels (appendix D)."""
    relevance = DRAWN.standard_normal((1, len(fitted().layout_)))
    for projection in ("centred", "raw"):
        found = fitted(pixels="bins", projection=projection)
        descriptors, areas = SIFT.extract(PHOTOS[0])
        back = found.projection_
        (parts,) = found.record(PHOTOS[:1]).descriptors(relevance)
        values = found.reduce(descriptors)
        shared = slow_components(found, values, relevance[0])
        expected, bias = np.zeros(descriptors.shape), 0.0
        for l, descriptor in enumerate(descriptors):
            for c, direction in enumerate(back.directions):
                epsilon = 0.01 * back.deviations[c] * (1 if values[l, c] >= 0 else -1)
                quotient = shared[l, c] / (values[l, c] + epsilon)
                inputs = descriptor - back.mean if projection == "centred" else descriptor
                expected[l] += direction * inputs * quotient
                bias -= 0 if projection == "centred" else (direction @ back.mean) * quotient
        scale = np.abs(expected).max()
        np.testing.assert_allclose(parts.relevance, expected, atol=1e-8 * scale)
        assert parts.bias == pytest.approx(bias, abs=1e-8 * scale)
        image = np.zeros(PHOTOS[0].shape[:2])
        for (top, left, bottom, _), own in zip(areas.boxes, expected, strict=True):
            b = (bottom - top) // 4
            cells = [
                (top + i * b, left + j * b, top + i * b + b, left + j * b + b)
                for i in range(4)
                for j in range(4)
            ]
            image += slow.spread_boxes(cells, own.reshape(16, 8).sum(1), image.shape)
        maps = found.redistribute(PHOTOS[:1], relevance).relevance[0]
        np.testing.assert_allclose(maps, image, atol=1e-8 * np.abs(image).max())


def slow_components(encoder, values, relevance):
    mixture = encoder.mixture_
    terms, component = slow.fisher_terms(values, mixture.weights, mixture.means, mixture.deviations)
    return slow.by_component(shares(terms, relevance, encoder.rule)[0], component, values.shape[1])


def test_recording_spares_reading_again_and_changes_nothing(monkeypatch):
    encoder = fitted()
    relevance = DRAWN.standard_normal((4, len(encoder.layout_)))
    recorded = encoder.record(PHOTOS)
    np.testing.assert_array_equal(recorded.output, encoder.transform(PHOTOS))
    again = encoder.redistribute(PHOTOS, relevance)
    reads = []
    extract = DenseSift.extract
    monkeypatch.setattr(DenseSift, "extract", lambda *a: (reads.append(1), extract(*a))[1])
    found = recorded.redistribute(relevance)
    assert not reads
    monkeypatch.setattr("relprop.classical.encoding.KEPT", 0)
    third = encoder.record(PHOTOS).redistribute(relevance)
    assert len(reads) == 8
    for one, two, three in zip(found.relevance, again.relevance, third.relevance, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(found.stabiliser, again.stabiliser)


def test_perturbing_descriptors():
    """perturb_descriptors (C.2) with what the encoder offers: sums updated, drawn descriptors,
    normalisation. Replacing the relevant first lowers the score faster than at random.
    """
    encoder = fitted()
    classifier = LinearSVC(random_state=0).fit(encoder.transform(PHOTOS), LABELS)
    signs = np.where(classifier.decision_function(encoder.transform(PHOTOS)) > 0, 1.0, -1.0)
    weights = signs[:, None] * classifier.coef_ * encoder.transform(PHOTOS)
    relevance = [own.relevance for own in encoder.record(PHOTOS).descriptors(weights)]
    descriptors = [encoder.reduce(SIFT.extract(photo)[0]) for photo in PHOTOS]

    def encode(own):
        return torch.from_numpy(encoder.encode(own.numpy()))

    def sample(count, generator):
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return torch.from_numpy(encoder.mixture_.sample(count, seed))

    def score(sums, counts):
        vectors = encoder.normalise(sums.numpy(), counts.numpy())
        margin = torch.from_numpy(classifier.decision_function(vectors))
        return torch.stack([-margin, margin], 1)

    own = [torch.from_numpy(d) for d in descriptors]
    whole = score(torch.stack([encode(d) for d in own]), torch.tensor([len(d) for d in own]))
    expected = classifier.decision_function(encoder.transform(PHOTOS))
    np.testing.assert_allclose(whole[:, 1], expected, atol=1e-12)
    options = {"encode": encode, "sample": sample, "steps": 5, "per_step": 10, "repeats": 3}
    morf, random = (
        perturb_descriptors(
            score, own, [torch.from_numpy(r) for r in relevance], order=order, **options
        )
        for order in ("morf", "random")
    )
    assert morf.over(random).low > 0


def test_samples_are_the_mixtures():
    drawn = Mixture.of(MIXTURE).sample(20_000, 0)
    np.testing.assert_allclose(drawn.mean(0), PARTS[0] @ PARTS[1], atol=0.03)
    second = PARTS[0] @ (PARTS[1] ** 2 + PARTS[2] ** 2)
    np.testing.assert_allclose((drawn**2).mean(0), second, atol=0.05)
    np.testing.assert_array_equal(drawn, Mixture.of(MIXTURE).sample(20_000, 0))


def test_whitened_projections_serve_too():
    descriptors, _ = SIFT.extract(PHOTOS[0])
    pca = PCA(6, whiten=True, random_state=0).fit(descriptors)
    reduced = pca.transform(descriptors)
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0).fit(reduced)
    encoder = FisherVector(SIFT, pixels="bins").use(mixture, pca)
    np.testing.assert_allclose(encoder.reduce(descriptors), reduced, atol=1e-4)
    found = encoder.redistribute(PHOTOS[:1], np.ones((1, 39)))
    total = found.relevance[0].sum() + found.stabiliser[0]
    assert total == pytest.approx(39, rel=1e-9)


def test_parameters_are_scikit_learns():
    """parametrize_with_checks feeds tables, and does not apply to lists of images."""
    encoder = FisherVector(SIFT, n_components=3, pca=5)
    again = clone(encoder).set_params(features__step=9, rule=SumEpsilon(0))
    assert again.get_params()["features__step"] == 9
    assert encoder.get_params()["rule"] == SumEpsilon()
    first, second = (clone(encoder).set_params(random_state=3).fit(PHOTOS) for _ in range(2))
    np.testing.assert_array_equal(first.transform(PHOTOS), second.transform(PHOTOS))


def test_what_does_not_fit():
    with pytest.raises(UnknownName, match="unknown block 'covariances'"):
        FisherVector(SIFT, blocks=("covariances",)).fit(PHOTOS)
    with pytest.raises(UnknownName, match="unknown pixels 'squares'; there are: areas, bins"):
        FisherVector(SIFT, pixels="squares").fit(PHOTOS)
    with pytest.raises(UnknownName, match="unknown projection 'both'"):
        FisherVector(SIFT, projection="both").fit(PHOTOS)
    with pytest.raises(InvalidInput, match=r"descriptors to learn from; n_components=9999"):
        FisherVector(SIFT, n_components=9999).fit(PHOTOS)
    with pytest.raises(InvalidInput, match="features is a str; it needs extract"):
        FisherVector("sift").fit(PHOTOS)
    with pytest.raises(InvalidInput, match=r"blocks is \('means', 'means'\)"):
        FisherVector(SIFT, blocks=("means", "means")).fit(PHOTOS)
    with pytest.raises(InvalidInput, match="power is 0"):
        FisherVector(SIFT, power=0).fit(PHOTOS)
    with pytest.raises(InvalidInput, match="this is GaussianMixture \\(full\\)"):
        FisherVector(SIFT).use(GaussianMixture(2).fit(VALUES))
    with pytest.raises(InvalidInput, match="projection has 2 components, the mixture 3"):
        FisherVector(SIFT).use(MIXTURE, PCA(2).fit(VALUES))
    with pytest.raises(InvalidInput, match="alpha \\+ beta is 3"):
        SumAlphaBeta(1, 2)
    with pytest.raises(InvalidInput, match="epsilon is -1"):
        SumEpsilon(-1)
