"""Trained networks on real images: digits in the package, photographs where they can be had."""

import pytest
import torch

import relprop
from relprop import data, models
from relprop.errors import RelpropError
from tests.methods.test_every_method import METHODS
from tests.methods.twins import autograd
from tests.reference.measure import difference

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


@pytest.fixture(scope="module")
def digits():
    model = models.load("lenet5")
    images, labels = data.sample_digits()
    return model, torch.stack([model.preprocessing(image) for image in images]), labels


@pytest.fixture(scope="module", params=["squeezenet", "efficientnet-lite0"])
def photo(request):
    """A network and the cat."""
    try:
        model, image = models.load(request.param), data.photograph("chelsea")
    except RelpropError as error:
        pytest.skip(str(error))
    return model, model.preprocessing(image)[None]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_digits(digits, method):
    model, x, labels = digits
    found = relprop.explain(model, x, method=method, **METHODS[method])
    assert found.relevance.shape == (20, 1, 32, 32)
    assert found.target.tolist() == labels.tolist()
    assert (found.heatmap().abs().amax((1, 2)) == 1).all()


def test_gradients_of_digits_are_autograds(digits):
    model, x, labels = digits
    target = torch.as_tensor(labels)
    found = relprop.explain(model, x, target, method="gradient").relevance
    assert difference(found, autograd(model, x, target)) <= 1e-6


def test_integrated_gradients_of_digits_sum_to_the_difference(digits):
    model, x, labels = digits
    found = relprop.explain(
        model, x, torch.as_tensor(labels), method="integrated-gradients", reference=-1.0, steps=64
    )
    index = torch.as_tensor(labels)[:, None]
    change = (found.output - model(torch.full_like(x, -1.0)).detach()).gather(1, index)[:, 0]
    assert torch.allclose(found.relevance.flatten(1).sum(1), change, rtol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_a_photograph(photo, method):
    model, x = photo
    found = relprop.explain(model, x, method=method, **METHODS[method])
    assert found.relevance.shape == x.shape
    heatmap = found.heatmap()
    assert heatmap.abs().amax() == 1 and heatmap.isfinite().all()


def test_the_gradient_of_a_photograph_is_autograds(photo):
    model, x = photo
    found = relprop.explain(model, x, method="gradient")
    assert difference(found.relevance, autograd(model, x, found.target)) <= 1e-6
