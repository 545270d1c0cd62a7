"""Trained networks on real images: contributions are complete, the evidence is on the object."""

import pytest
import torch

import relprop
from relprop import data, models
from relprop.errors import RelpropError
from relprop.methods import learn_patterns

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
BACKGROUND = -1.0


@pytest.fixture(scope="module")
def digits():
    model = models.load("lenet5")
    images, labels = data.sample_digits()
    x = torch.stack([model.preprocessing(image) for image in images])
    return model, x, torch.as_tensor(labels)


@pytest.fixture(scope="module", params=["squeezenet", "efficientnet-lite0"])
def photo(request):
    """A network and the cat."""
    try:
        model, image = models.load(request.param), data.photograph("chelsea")
    except RelpropError as error:
        pytest.skip(str(error))
    return model, model.preprocessing(image)[None]


def gap(found, model, x, reference):
    """How far contributions are from f(x) - f(reference), relative to it."""
    classes = found.target[:, None]
    change = (found.output - model(torch.full_like(x, reference)).detach()).gather(1, classes)[:, 0]
    return ((found.relevance.flatten(1).sum(1) - change).abs() / change.abs()).max()


@pytest.mark.parametrize("rule", ["rescale", "reveal-cancel"])
def test_deeplift_of_digits_is_complete(digits, rule):
    model, x, labels = digits
    found = relprop.explain(model, x, labels, method="deeplift", rule=rule, reference=BACKGROUND)
    assert gap(found, model, x, BACKGROUND) <= 1e-4
    assert torch.count_nonzero(found.relevance[x == BACKGROUND]) == 0


@pytest.mark.parametrize("rule", ["rescale", "reveal-cancel"])
def test_deeplift_of_a_photograph_is_complete(photo, rule):
    model, x = photo
    found = relprop.explain(model, x, method="deeplift", rule=rule)
    assert gap(found, model, x, 0.0) <= 1e-4


def test_a_margin_of_digits_has_a_root(digits):
    """The largest output against the next: the root is on the boundary between both classes."""
    model, x, _ = digits
    best = model(x).detach().topk(2).indices
    margin = torch.zeros(len(x), 10).scatter(1, best[:, :1], 1).scatter(1, best[:, 1:], -1)
    found = relprop.explain(model, x, margin, method="taylor", tolerance=1e-3)
    assert float(found.notes[-1].rpartition("at most ")[2].split()[0]) <= 1e-3  # |f(root)|


def test_patterns_of_digits_are_strokes(digits):
    """What PatternNet draws is brighter on the digit than beside it; the gradient is not."""
    model, x, labels = digits
    patterns = learn_patterns(model, x.split(10))

    def on_the_digit(method, **options):
        found = relprop.explain(model, x, labels, method=method, **options).relevance
        return float(found[x > 0].clamp(min=0).sum() / found.clamp(min=0).sum())

    signal = on_the_digit("patternnet", patterns=patterns)
    share = on_the_digit("pattern-attribution", patterns=patterns)
    assert min(signal, share) > on_the_digit("gradient")


@pytest.mark.parametrize(
    "method, options",
    [
        ("occlusion", {"window": 6, "stride": 3, "reference": BACKGROUND}),
        ("kernel-shap", {"segments": 4, "samples": 200, "reference": BACKGROUND}),
        ("lime", {"segments": 4, "samples": 100, "reference": BACKGROUND}),
        ("meaningful-perturbation", {"steps": 40}),
        ("prediction-difference", {"patch": 6, "surround": 2, "stride": 6, "samples": 3}),
    ],
)
def test_sampling_finds_the_digit(digits, method, options):
    """More of the map lies near the stroke than the stroke has of the image."""
    model, x, labels = digits
    if method == "prediction-difference":
        options = {**options, "data": x}
    else:
        pytest.importorskip("captum.attr")
    found = relprop.explain(model, x[::5], labels[::5], method=method, **options).relevance.abs()
    near = torch.nn.functional.max_pool2d((x[::5] > 0).float(), 5, 1, padding=2) > 0
    assert found[near].sum() / found.sum() > 1.5 * near.float().mean()
