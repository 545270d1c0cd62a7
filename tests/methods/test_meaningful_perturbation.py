"""Meaningful perturbation: the mask covers the evidence, and is what its objective asks for."""

import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidInput
from relprop.methods.meaningful_perturbation import blurred_images, variation
from tests.methods.twins import WithSoftmax, images, twin
from tests.reference.measure import difference


def masked(model, x, target=None, **options):
    options = {"steps": 60, **options}
    return relprop.explain(model, x, target, method="meaningful-perturbation", **options)


def spots(samples=2, size=24):
    """Two bright squares: the model looks at the first."""
    x = torch.zeros(samples, 1, size, size).double()
    x[..., 4:9, 4:9], x[..., 15:20, 15:20] = 1, 1
    return x


def first_spot(x):
    """How much brighter the first square is than what lies around."""
    return (x[..., 4:9, 4:9].mean((1, 2, 3)) * 10)[:, None]


def test_the_mask_covers_what_the_model_looks_at():
    found = masked(first_spot, spots(), jitter=0, sparsity=0.1).relevance
    assert found.min() >= 0 and found.max() <= 1
    assert found[..., 5:8, 5:8].mean() > 0.5
    assert found[..., 15:20, 15:20].mean() < 0.1
    assert found[..., 5:8, 5:8].mean() > 5 * found.mean()


def test_the_score_goes_where_the_mask_blurs():
    x = spots()
    mask = 1 - masked(first_spot, x, sparsity=0.1, jitter=0).relevance
    blurred = blurred_images(x, 3.0)
    begin, end, gone = (first_spot(t) for t in (x, mask * x + (1 - mask) * blurred, blurred))
    assert ((end - gone) <= 0.3 * (begin - gone)).all()


def test_a_higher_price_gives_a_smaller_mask():
    sizes = [masked(first_spot, spots(1), sparsity=s).relevance.sum() for s in (0.1, 1.0, 100.0)]
    assert sizes[0] > sizes[1] > sizes[2] == 0


def test_one_step_of_its_descent():
    """Adam's first step is its rate against the sign of the objective's gradient."""
    model, x = twin(), images(2)
    found = masked(model, x, 1, steps=1, jitter=0, cells=12, blur=2.0, rate=0.05)
    mask = torch.ones(2, 1, 12, 12).double().requires_grad_()
    blurred = blurred_images(x, 2.0)
    score, gone = (model(t)[:, 1] for t in (x, blurred))
    reached = model(mask * x + (1 - mask) * blurred)[:, 1]
    fall = (reached - gone).clamp(min=0) / (score - gone).abs().detach()
    total = fall + 1.5 * (1 - mask).flatten(1).mean(1) + 10 * variation(mask)
    (slope,) = torch.autograd.grad(total.sum(), mask)
    wanted = 0.05 * (slope > 0)
    assert torch.allclose(found.relevance.sum(1, keepdim=True), wanted.double(), atol=1e-6)


def test_blurring_keeps_means_and_is_a_gaussian():
    assert torch.allclose(blurred_images(torch.ones(1, 2, 9, 9), 3.0), torch.ones(1, 2, 9, 9))
    point = torch.zeros(1, 1, 31, 31).double()
    point[..., 15, 15] = 1
    found = blurred_images(point, 2.0)[0, 0]
    places = torch.arange(31).double() - 15
    assert torch.allclose(found.sum(), torch.tensor(1.0).double())
    assert torch.allclose(
        (found.sum(0) * places**2).sum().sqrt(), torch.tensor(2.0).double(), rtol=0.03
    )
    assert torch.equal(blurred_images(point, 0), point)


def test_variation_is_the_mean_of_cubed_differences():
    mask = torch.rand(2, 1, 5, 6).double()
    down = (mask[:, :, 1:] - mask[:, :, :-1]).abs().pow(3).flatten(1).mean(1)
    across = (mask[..., 1:] - mask[..., :-1]).abs().pow(3).flatten(1).mean(1)
    assert torch.allclose(variation(mask), down + across, atol=1e-6)


def test_a_batch_is_its_samples_and_several_targets():
    x, groups = images(2), {"low": [0], "high": [3, 4]}
    whole = masked(twin(), x, groups, steps=5)
    assert whole.relevance.shape == (2, 2, 3, 12, 12)
    parts = masked(twin(), x, groups, steps=5, batch_size=1)
    assert difference(parts.relevance, whole.relevance) <= 1e-8
    alone = masked(twin(), x, 0, steps=5).relevance
    assert torch.allclose(whole.relevance[:, 0], alone, atol=1e-10)


def test_a_seed_gives_the_same_mask_again():
    one, same, other = (
        masked(twin(), images(1), 1, steps=4, seed=seed).relevance for seed in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.allclose(one, other)


def test_a_softmax_at_the_end_is_left_out():
    wanted = masked(twin(), images(2), 1, steps=4).relevance
    assert difference(masked(twin(WithSoftmax), images(2), 1, steps=4).relevance, wanted) <= 1e-8


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="blurring changes nothing in the output of sample 0"):
        masked(first_spot, torch.ones(1, 1, 24, 24))
    with pytest.raises(InvalidInput, match=r"takes images \[N, C, H, W\]"):
        masked(nn.Linear(4, 2), torch.ones(2, 4), 0)
    with pytest.raises(InvalidInput, match="steps must be a whole number of at least 1"):
        masked(first_spot, spots(), steps=0)
    with pytest.raises(InvalidInput, match="sparsity must be a finite number of at least 0"):
        masked(first_spot, spots(), sparsity=-1.0)
