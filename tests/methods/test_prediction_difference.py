"""Prediction difference analysis: the Gaussian of patches, and what the output loses on average."""

import numpy as np
import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidInput, InvalidTarget, UnknownName
from relprop.methods import fit_patches
from tests.methods.twins import WithSoftmax, images, twin
from tests.reference.measure import difference


def smooth(samples=20, *, seed=0, channels=3, size=12):
    """Images whose neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, channels, size + 4, size + 4, generator=generator).double()
    return nn.functional.avg_pool2d(noise, 5, 1) * 5


def unknown(model, x, target=None, **options):
    options = {"data": smooth(), "patch": 3, "surround": 1, "samples": 4, **options}
    return relprop.explain(model, x, target, method="prediction-difference", **options)


def test_the_gaussian_has_the_moments_of_all_patches():
    data = smooth(3, channels=2, size=6)
    gaussian = fit_patches(data, 3)
    patches = nn.functional.unfold(data, 3).mT.flatten(0, 1).numpy()
    assert abs(gaussian.mean.numpy() - patches.mean(0)).max() <= 1e-12
    wanted = np.cov(patches.T, bias=True)
    ridge = 1e-4 * wanted.diagonal().mean() * np.eye(18)
    assert abs(gaussian.covariance.numpy() - wanted - ridge).max() <= 1e-12
    assert gaussian.low.tolist() == data.amin((0, 2, 3)).tolist()


def test_draws_are_conditional():
    """Mean and covariance of the inside given the outside, from their definition."""
    gaussian = fit_patches(smooth(), 5)
    surround = smooth(1, seed=3)[:, :, 2:7, 4:9]
    noise = torch.randn(40_000, 3 * 4).double()
    drawn = gaussian.draw(surround, (1, 2), 2, noise)[0].flatten(1).numpy()
    mask = np.zeros((3, 5, 5), bool)
    mask[:, 1:3, 2:4] = True
    inside, outside = mask.flatten(), ~mask.flatten()
    covariance, mean = gaussian.covariance.numpy(), gaussian.mean.numpy()
    gain = covariance[np.ix_(inside, outside)] @ np.linalg.inv(covariance[np.ix_(outside, outside)])
    seen = surround.flatten().numpy()[outside]
    wanted = mean[inside] + gain @ (seen - mean[outside])
    left = covariance[np.ix_(inside, inside)] - gain @ covariance[np.ix_(outside, inside)]
    spread = np.sqrt(left.diagonal())
    assert abs((drawn.mean(0) - wanted) / spread).max() <= 0.03
    assert abs(np.cov(drawn.T) - left).max() <= 0.03 * left.diagonal().max()


def test_draws_stay_in_the_range_of_the_data():
    data = smooth().clamp(-0.5, 0.5)
    drawn = fit_patches(data, 4).draw(data[:2, :, :4, :4], (1, 1), 2, torch.randn(500, 12) * 9)
    assert drawn.shape == (2, 500, 3, 2, 2)
    assert drawn.min() == -0.5 and drawn.max() == 0.5


def test_it_is_the_output_minus_its_mean_over_draws():
    """Four patches, drawn again by hand."""
    model, x, data = twin(), images(2), smooth()
    gaussian = fit_patches(data, 12)
    found = unknown(model, x, 1, data=gaussian, patch=6, surround=3, stride=6, samples=3, seed=5)
    generator = torch.Generator().manual_seed(5)
    wanted = torch.zeros(2, 1, 12, 12).double()
    for row in (0, 6):
        for column in (0, 6):
            noise = torch.randn(3, 108, generator=generator)
            drawn = gaussian.draw(x, (row, column), 6, noise)
            for n in range(2):
                copies = x[n].repeat(3, 1, 1, 1)
                copies[:, :, row : row + 6, column : column + 6] = drawn[n]
                fall = model(x[n : n + 1])[0, 1] - model(copies)[:, 1].mean()
                wanted[n, :, row : row + 6, column : column + 6] = fall.detach()
    assert torch.allclose(found.relevance.sum(1, keepdim=True), wanted, atol=1e-9)


def test_where_patches_overlap_their_mean_is_taken():
    """A model that reads one pixel: a position gets what its patches that hold the pixel lost, over
    all of its patches.
    """
    x = torch.zeros(1, 1, 6, 6).double()
    x[..., 2, 2] = 1

    def model(x):
        return x[:, 0, 2, 2][:, None]

    data = torch.zeros(4, 1, 6, 6).double()
    found = unknown(model, x, 0, data=data, patch=2, surround=1, stride=1, samples=1)
    relevance = found.relevance[0, 0]
    assert torch.allclose(relevance[2, 2], torch.tensor(1.0).double(), atol=1e-3)
    assert torch.allclose(relevance[2, 3], torch.tensor(0.5).double(), atol=1e-3)
    assert torch.allclose(relevance[3, 3], torch.tensor(0.25).double(), atol=1e-3)
    assert relevance[5, 5].abs() <= 1e-9


def test_evidence_is_a_difference_of_log_odds():
    model, x = twin(), images(2)
    found = unknown(model, x, 1, patch=12, surround=0, samples=6, measure="evidence")
    generator = torch.Generator().manual_seed(0)
    gaussian = fit_patches(smooth(), 12)
    drawn = gaussian.draw(x, (0, 0), 12, torch.randn(6, 432, generator=generator))

    def odds(p):
        return (p / (1 - p)).log2()

    for n in range(2):
        after = model(drawn[n]).softmax(1)[:, 1].mean()
        wanted = odds(model(x)[n].softmax(0)[1]) - odds(after)
        assert torch.allclose(found.relevance[n].sum(0), wanted.detach().expand(12, 12))


def test_a_batch_is_its_samples_and_several_targets():
    x = images(3)
    whole = unknown(twin(), x, "all")
    parts = unknown(twin(), x, "all", batch_size=1, at_once=3)
    assert whole.relevance.shape == (3, 5, 3, 12, 12)
    assert difference(parts.relevance, whole.relevance) <= 1e-8
    assert torch.allclose(unknown(twin(), x, 2).relevance, whole.relevance[:, 2])


def test_a_softmax_at_the_end_is_left_out():
    wanted = unknown(twin(), images(2), 1).relevance
    assert difference(unknown(twin(WithSoftmax), images(2), 1).relevance, wanted) <= 1e-10


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data": None}, "needs data=: images like the inputs"),
        ({"data": torch.ones(3, 4)}, r"real-valued images \[N, C, H, W\]"),
        ({"data": smooth(channels=1)}, "the Gaussian is of 1 channels and patches of 5"),
        ({"patch": 20}, "smaller than patches of 22"),
        ({"patch": 0}, "patch must be a whole number of at least 1"),
        ({"patch": 2, "stride": 3}, "stride=3 leaves gaps between patches of 2"),
        ({"surround": -1}, "surround must be a whole number of at least 0"),
        ({"data": smooth(size=30), "patch": 20}, r"images of \(12, 12\) are smaller than patch"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        unknown(twin(), images(1), 0, **options)


def test_measures_and_targets_that_do_not_fit_are_refused():
    with pytest.raises(UnknownName, match="unknown measure of prediction differences 'bits'"):
        unknown(twin(), images(1), 0, measure="bits")
    with pytest.raises(InvalidTarget, match="measure='evidence' is about one class"):
        unknown(twin(), images(1), [1.0, -1.0, 0, 0, 0], measure="evidence")
    with pytest.raises(InvalidInput, match=r"takes images \[N, C, H, W\], got inputs of \(2, 4\)"):
        unknown(nn.Linear(4, 2), torch.ones(2, 4), 0)
