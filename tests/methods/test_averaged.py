"""Integrated gradients and SmoothGrad."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import relprop
from relprop.errors import InvalidInput, RelpropWarning
from tests.laws.networks import HOMOGENEOUS, batches, laws, networks
from tests.methods.twins import WithSoftmax, autograd, images, twin
from tests.reference.measure import difference


def smooth_model():
    """[N, 4] -> [N, 3], smooth enough for few steps."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def integrated(model, x, target, reference, steps):
    """The mean of gradients at the middles of many small steps, one after the other."""
    total = torch.zeros_like(x)
    for k in range(steps):
        total += autograd(model, reference + (k + 0.5) / steps * (x - reference), target)
    return (x - reference) * total / steps


def test_integrated_gradients_are_the_integral():
    model, x = smooth_model(), torch.randn(3, 4).double()
    reference = torch.randn(4).double()
    found = relprop.explain(model, x, 1, method="integrated-gradients", reference=reference)
    wanted = integrated(model, x, 1, reference, 4000)
    assert difference(found.relevance, wanted) <= 1e-6
    change = model(x)[:, 1] - model(reference[None])[:, 1]
    assert torch.allclose(found.relevance.sum(1), change, rtol=1e-10)


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_integrated_gradients_are_captums(steps):
    model, x = twin(), images()
    options = {"method": "integrated-gradients", "steps": steps}
    found = relprop.explain(model, x, 2, reference=0.5, **options).relevance
    theirs = pytest.importorskip("captum.attr").IntegratedGradients(model)
    wanted = theirs.attribute(x.clone(), baselines=0.5, target=2, n_steps=steps)
    assert difference(found, wanted) <= 1e-7  # Captum's weights are in single precision


@laws(12)
@given(networks(), batches(2), st.integers(0, 2), st.floats(-1, 1))
def test_integrated_gradients_are_complete(model, x, target, reference):
    """Sums equal f(x) - f(reference) up to the error of the integral, which steps reduce."""
    found = relprop.explain(
        model, x, target, method="integrated-gradients", reference=reference, steps=100, pack=200
    ).relevance
    there = model(torch.full_like(x, reference))[:, target]
    gap = (found.flatten(1).sum(1) - model(x * 1.0)[:, target] + there).abs()
    assert (gap <= 0.05 * found.abs().flatten(1).sum(1) + 1e-12).all()


@laws(15)
@given(networks(HOMOGENEOUS), batches(), st.integers(0, 2))
def test_from_zero_without_biases_it_is_gradient_times_input(model, x, target):
    """The gradient is the same all along the ray to the origin."""
    one = relprop.explain(model, x, target, method="gradient-x-input").relevance
    many = relprop.explain(model, x, target, method="integrated-gradients", steps=3).relevance
    assert torch.allclose(one, many, rtol=1e-6, atol=1e-9)


def test_too_few_steps_give_a_warning():
    with pytest.warns(RelpropWarning, match=r"miss f\(x\) - f\(reference\) by up to \d+%"):
        relprop.explain(
            lambda x: (x.abs() - 0.9).relu(), torch.ones(1, 3), 0,
            method="integrated-gradients", steps=2,
        )  # fmt: skip


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad"])
@pytest.mark.parametrize("pack", [1, 4, 1000])
def test_packing_changes_nothing(method, pack):
    model, x = twin(), images()
    steps = {"steps": 9} if method == "integrated-gradients" else {"samples": 9}
    one = relprop.explain(model, x, [0, 1, 2], method=method, pack=pack, **steps).relevance
    other = relprop.explain(model, x, [0, 1, 2], method=method, **steps).relevance
    assert difference(one, other) <= 1e-12


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad"])
def test_a_batch_equals_its_samples_one_by_one(method):
    model, x = twin(), images()
    whole = relprop.explain(model, x, 2, method=method).relevance
    parts = relprop.explain(model, x, 2, method=method, batch_size=1).relevance
    assert difference(parts, whole) <= 1e-12


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad"])
def test_a_softmax_is_left_out_at_every_point(method):
    x = images()
    found = relprop.explain(twin(WithSoftmax), x, 1, method=method).relevance
    assert difference(found, relprop.explain(twin(), x, 1, method=method).relevance) <= 1e-12


def test_references_are_structured_as_the_inputs():
    dense = nn.Linear(4, 3).double()
    inputs = {"a": torch.randn(2, 4).double(), "b": torch.randn(2, 4).double()}

    def model(a, b):
        return dense(a * b)

    given = {"b": torch.ones(4).double(), "a": 2.0}  # in another order
    found = relprop.explain(
        model, inputs, 1, method="integrated-gradients", reference=given
    ).relevance
    there = model(torch.full((2, 4), 2.0).double(), torch.ones(2, 4).double())
    total = found["a"].sum(1) + found["b"].sum(1)
    assert torch.allclose(total, (model(**inputs) - there)[:, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"pack": True}, "pack must be a whole number"),
        ({"reference": torch.zeros(7)}, r"broadcasts to the input \(3, 3, 12, 12\)"),
        ({"reference": "black"}, "reference must be a number or a tensor"),
        ({"reference": float("nan")}, "the reference contains NaN"),
        ({"samples": 3}, "has no option 'samples'; its options are: class_axis, reference, steps"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        relprop.explain(twin(), images(), method="integrated-gradients", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be a whole number of at least 1"),
        ({"noise": -0.1}, "noise must be a finite number of at least 0, got -0.1"),
        ({"noise": float("inf")}, "noise must be a finite number"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"squared": 1}, "squared must be True or False, got 1"),
    ],
)
def test_options_of_smoothgrad_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        relprop.explain(twin(), images(), method="smoothgrad", **options)


def test_a_reference_with_too_few_parts_is_refused():
    dense = nn.Linear(4, 3)
    inputs = (torch.rand(2, 4), torch.rand(2, 4))
    with pytest.raises(InvalidInput, match="reference has 1 parts for 2 inputs"):
        relprop.explain(
            lambda a, b: dense(a + b), inputs, 0, method="integrated-gradients", reference=(0.0,)
        )


def test_smoothgrad_is_the_mean_over_noisy_copies():
    """Of a quadratic function the gradient is linear: the mean is that at the mean of the copies,
    and squares add the variance of the noise.
    """
    x = torch.tensor([[0.0, 1.0, 4.0], [3.0, -3.0, 5.0]]).double()

    def model(x):
        return (x**2).sum(1, keepdim=True) / 2

    options = {"method": "smoothgrad", "samples": 20_000, "noise": 0.25}
    mean = relprop.explain(model, x, 0, **options)
    squares = relprop.explain(model, x, 0, squared=True, **options)
    deviation = torch.tensor([[1.0], [2.0]]).double()  # a quarter of the ranges, 4 and 8
    assert ((mean.relevance - x).abs() <= 4 * deviation / 20_000**0.5).all()
    assert torch.allclose(squares.relevance, x**2 + deviation**2, rtol=0.05)
    assert (mean.pooling, squares.pooling) == ("l2", "sum")


def test_smoothgrad_without_noise_is_the_gradient():
    model, x = twin(), images()
    found = relprop.explain(model, x, 2, method="smoothgrad", noise=0, samples=3).relevance
    assert difference(found, autograd(model, x, 2)) <= 1e-12


def test_smoothgrad_depends_on_its_seed_only():
    model, x = twin(), images()
    first = relprop.explain(model, x, 2, method="smoothgrad", seed=3).relevance
    torch.manual_seed(99)
    assert torch.equal(relprop.explain(model, x, 2, method="smoothgrad", seed=3).relevance, first)
    other = relprop.explain(model, x, 2, method="smoothgrad", seed=4).relevance
    assert difference(other, first) > 1e-3
