import pytest
import torch

from relprop.errors import InvalidInput, UnknownName
from relprop.evaluation import perturb_descriptors

DRAWN = torch.Generator().manual_seed(0)
DESCRIPTORS = [torch.randn(count, 3, generator=DRAWN, dtype=torch.float64) for count in (40, 25)]
RELEVANCE = [torch.randn(count, generator=DRAWN) for count in (40, 25)]
CENTRES = torch.randn(4, 3, generator=DRAWN, dtype=torch.float64)
WEIGHTS = torch.randn(12, 2, generator=DRAWN, dtype=torch.float64)


def encode(descriptors):
    """First-order terms of a Fisher vector with soft assignment, summed over descriptors."""
    away = descriptors[:, None] - CENTRES
    shares = (-(away**2).sum(2)).softmax(1)
    return (shares[..., None] * away).sum(0).flatten()


def score(sums, counts):
    """Power and l2 normalisation, then a linear classifier."""
    vectors = sums / counts[:, None]
    vectors = vectors.sign() * vectors.abs().sqrt()
    return (vectors / vectors.norm(dim=1, keepdim=True)) @ WEIGHTS


def sample(count, generator):
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


def perturb(relevance=RELEVANCE, **options):
    options = {"steps": 4, "per_step": 8, "repeats": 3, **options}
    return perturb_descriptors(
        score, DESCRIPTORS, relevance, encode=encode, sample=sample, **options
    )


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_updating_equals_encoding_anew(order):
    """What is drawn is taken down; each image is then perturbed and encoded from scratch."""
    draws = []

    def noted(count, generator):
        draws.append(sample(count, generator))
        return draws[-1]

    curve = perturb_descriptors(
        score,
        DESCRIPTORS,
        RELEVANCE,
        encode=encode,
        sample=noted,
        order=order,
        steps=4,
        per_step=8,
        repeats=3,
    )
    for run, drawn in enumerate(draws):
        image, repeat = divmod(run, 3)
        goes = RELEVANCE[image].argsort(descending=order == "morf")[:32]
        current = DESCRIPTORS[image].clone()
        target = int(score(encode(current)[None], torch.tensor([len(current)])).argmax())
        for step in range(1, 5):
            gone = goes[: step * 8]
            current[gone] = drawn[: len(gone)]
            expected = score(encode(current)[None], torch.tensor([len(current)]))[0, target]
            torch.testing.assert_close(curve.scores[repeat, image, step], expected)


def test_few_descriptors_are_all_replaced_and_it_is_said():
    curve = perturb()
    assert curve.notes == ("1 of 2 images have fewer than 32 descriptors",)
    more = perturb(steps=6)
    assert torch.equal(more.scores[..., 5], more.scores[..., 6])
    assert torch.equal(more.scores[:, 1, 4], more.scores[:, 1, 6])
    assert not torch.equal(more.scores[:, 0, 4], more.scores[:, 0, 5])


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_batches_and_methods_share_draws(batch_size):
    whole = perturb()
    parts = perturb(batch_size=batch_size)
    assert torch.equal(whole.scores, parts.scores)
    assert whole.over(perturb([-r for r in RELEVANCE], order="lerf")).value == 0


def test_random_orders_need_no_relevance():
    random = perturb(None, order="random")
    assert random.scores.shape == (3, 2, 5)
    assert perturb().over(random).value == pytest.approx(perturb().aopc - random.aopc)
    assert not torch.equal(random.scores[0], random.scores[1])


def test_relevant_descriptors_first_do_more():
    """One descriptor in ten carries the class; relevance knows which."""
    drawn = torch.Generator().manual_seed(1)
    descriptors = [torch.randn(100, 2, generator=drawn) for _ in range(5)]
    relevance = [(own[:, 0] > 1.2).float() for own in descriptors]

    def count(own):
        return (own[:, :1] > 1.2).float().sum(0)

    def zeros(number, generator):
        return torch.zeros(number, 2)

    morf, random = (
        perturb_descriptors(
            lambda sums, counts: sums,
            descriptors,
            relevance,
            encode=count,
            sample=zeros,
            order=order,
            steps=5,
            per_step=5,
        )
        for order in ("morf", "random")
    )
    found = morf.over(random)
    assert found.low > 0


@pytest.mark.parametrize(
    ("descriptors", "relevance", "options", "message"),
    [
        ([], [], {}, "there are no images"),
        ([torch.zeros(3)], [torch.zeros(3)], {}, r"image 0 are torch.float32 \[3\]"),
        (DESCRIPTORS, None, {}, "needs the relevance of 2 images, there is none"),
        (DESCRIPTORS, RELEVANCE[:1], {}, "there is that of 1"),
        (DESCRIPTORS, RELEVANCE[::-1], {}, r"relevance of image 0 is \[25\]; it has 40"),
        (DESCRIPTORS, [r / 0 for r in RELEVANCE], {}, "image 0 contains NaN or infinite"),
        (DESCRIPTORS, RELEVANCE, {"steps": 0}, "steps is 0"),
        (DESCRIPTORS, RELEVANCE, {"per_step": 0.5}, "per_step is 0.5"),
    ],
)
def test_what_does_not_fit(descriptors, relevance, options, message):
    with pytest.raises(InvalidInput, match=message):
        perturb_descriptors(score, descriptors, relevance, encode=encode, sample=sample, **options)


def test_other_mistakes():
    with pytest.raises(UnknownName, match="unknown order 'best'"):
        perturb(order="best")
    with pytest.raises(InvalidInput, match=r"sample returned \[1, 3\]; it must return \[32, 3\]"):
        perturb_descriptors(
            score,
            DESCRIPTORS,
            RELEVANCE,
            encode=encode,
            sample=lambda n, g: sample(1, g),
            steps=4,
            per_step=8,
        )
