"""Occlusion, ablation, LIME and KernelSHAP through Captum, and any attribution of Captum's."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidInput, RelpropError
from relprop.methods import METHODS, captum_method
from tests.methods.twins import WithSoftmax, images, twin
from tests.reference.measure import difference

pytestmark = pytest.mark.filterwarnings(
    "ignore:Input Tensor 0 did not already require gradients", "ignore:Setting forward, backward"
)
FEW = {
    "occlusion": {"window": 6},
    "feature-ablation": {"segments": 4},
    "lime": {"segments": 4, "samples": 12},
    "kernel-shap": {"segments": 4, "samples": 12},
}
SAMPLING = tuple(FEW)


@pytest.fixture(autouse=True)
def captum():
    return pytest.importorskip("captum.attr")


def sampled(method, model, x, target=None, **options):
    return relprop.explain(model, x, target, method=method, **options)


def test_occlusion_is_captums(captum):
    x = images()
    wanted = captum.Occlusion(twin()).attribute(
        x, sliding_window_shapes=(3, 4, 4), strides=(1, 3, 3), target=2, baselines=0.5
    )
    found = sampled("occlusion", twin(), x, 2, window=4, stride=3, reference=0.5)
    assert difference(found.relevance, wanted.detach()) <= 1e-6


def test_occlusion_is_its_loop():
    model, x, window, stride = twin(), images(), 5, 4
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    whole = model(x)[:, 1].detach()
    for row, column in itertools.product((0, 4, 8), repeat=2):
        covered = x.clone()
        inside = (..., slice(row, row + window), slice(column, column + window))
        covered[inside] = 0
        total[inside] += (whole - model(covered)[:, 1].detach())[:, None, None, None]
        count[inside] += 1
    found = sampled("occlusion", model, x, 1, window=window, stride=stride, at_once=4)
    assert difference(found.relevance, total / count) <= 1e-6


def test_ablation_of_a_linear_model_is_weights_times_differences():
    model, x = nn.Linear(6, 3), torch.randn(4, 6)
    found = sampled("feature-ablation", model, x, 2, reference=torch.arange(6.0))
    wanted = model.weight[2] * (x - torch.arange(6.0))
    assert torch.allclose(found.relevance, wanted, atol=1e-5)


def test_a_segments_figure_is_shared_evenly():
    model, x = twin(), images()
    labels = torch.zeros(12, 12, dtype=torch.long)
    labels[4:, :6], labels[4:, 6:] = 7, 3
    found = sampled("feature-ablation", model, x, 1, segments=labels)
    for label in (0, 3, 7):
        gone = torch.where(labels == label, 0.0, x)
        fall = (model(x) - model(gone))[:, 1].detach()
        inside = found.relevance[..., labels == label]
        assert torch.allclose(inside.flatten(1).sum(1), fall, atol=1e-5)
        assert (inside - inside.flatten(1)[:, :1, None]).abs().amax() <= 1e-6


def shapley(model, x, labels, target):
    """Of each segment, over all subsets."""
    segments = labels.unique().tolist()

    def worth(present):
        kept = torch.isin(labels, torch.tensor(sorted(present), dtype=torch.long))
        return float(model(torch.where(kept, x, 0.0)).detach()[0, target])

    found = {}
    for one in segments:
        others = [s for s in segments if s != one]
        total = 0.0
        for size in range(len(others) + 1):
            share = math.factorial(size) * math.factorial(len(others) - size)
            share /= math.factorial(len(segments))
            for subset in itertools.combinations(others, size):
                total += share * (worth({*subset, one}) - worth(set(subset)))
        found[one] = total
    return found


def test_kernel_shap_nears_shapley_values_and_sums_to_the_difference():
    model, x = twin(), images(1)
    labels = torch.arange(12).div(4, rounding_mode="floor")
    labels = labels[:, None] * 2 + (torch.arange(12) >= 6)
    found = sampled("kernel-shap", model, x, 1, segments=labels, samples=600, at_once=64)
    wanted = shapley(model, x, labels, 1)
    scale = max(map(abs, wanted.values()))
    for label, value in wanted.items():
        assert abs(float(found.relevance[..., labels == label].sum()) - value) <= 0.05 * scale
    change = (model(x) - model(torch.zeros_like(x)))[0, 1].detach()
    assert math.isclose(float(found.relevance.sum()), float(change), rel_tol=1e-3)


@pytest.mark.parametrize("method, options", [("lime", {"alpha": 0.0}), ("kernel-shap", {})])
def test_surrogates_of_a_linear_model_are_exact(method, options):
    model, x = nn.Linear(6, 3), torch.randn(4, 6)
    found = sampled(method, model, x, 2, reference=0.5, samples=64, **options)
    assert torch.allclose(found.relevance, model.weight[2] * (x - 0.5), atol=1e-4)


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_segments_that_equal_the_reference_get_nothing(method):
    model, x = twin(), images(3)
    x[:, :, :, 6:] = 0.5  # half of every image
    x[2, :, 4:], x[1] = 0.5, 0.5  # all but one segment, and all
    found = sampled(method, model, x, 1, reference=0.5, segments=6, samples=40)
    assert torch.count_nonzero(found.relevance[..., 6:]) == 0
    assert torch.count_nonzero(found.relevance[1]) == 0
    change = (model(x) - model(torch.full_like(x, 0.5)))[:, 1].detach()
    if method == "kernel-shap":
        assert torch.allclose(found.relevance.flatten(1).sum(1), change, rtol=1e-3, atol=1e-6)


def test_the_penalty_of_lime_shrinks():
    model, x = nn.Linear(6, 3), torch.randn(4, 6)
    sizes = [
        sampled("lime", model, x, 2, alpha=alpha, samples=64).relevance.norm()
        for alpha in (0.0, 10.0, 1000.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_a_seed_gives_the_same_map_again(method):
    x = images(2)
    one, same, other = (
        sampled(method, twin(), x, 1, samples=40, seed=seed).relevance for seed in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.allclose(one, other)


@pytest.mark.parametrize("method", SAMPLING)
def test_a_batch_is_its_samples(method):
    x, options = images(3), FEW[method]
    whole = sampled(method, twin(), x, "all", **options)
    assert whole.relevance.shape == (3, 5, 3, 12, 12)
    parts = sampled(method, twin(), x, "all", batch_size=1, **options)
    assert difference(parts.relevance, whole.relevance) <= 1e-5
    alone = sampled(method, twin(), x, 4, **options).relevance
    assert torch.allclose(whole.relevance[:, 4], alone, atol=1e-6)


@pytest.mark.parametrize("method", SAMPLING)
def test_a_softmax_at_the_end_is_left_out(method):
    x, options = images(2), FEW[method]
    wanted = sampled(method, twin(), x, 1, **options)
    found = sampled(method, twin(WithSoftmax), x, 1, **options)
    assert difference(found.relevance, wanted.relevance) <= 1e-6
    assert any("left out" in note for note in found.notes)


@pytest.mark.parametrize("method", SAMPLING)
def test_what_does_not_fit_is_refused(method):
    x = images(2)
    with pytest.raises(InvalidInput, match="takes a single input, got 2"):
        sampled(method, lambda a, b: a + b, (torch.ones(1, 3), torch.ones(1, 3)), 0)
    with pytest.raises(InvalidInput, match="reference= must be a number or broadcast"):
        sampled(method, twin(), x, 0, reference=torch.ones(5))
    with pytest.raises(InvalidInput, match="at_once must be a whole number"):
        sampled(method, twin(), x, 0, at_once=0)
    if method == "occlusion":
        with pytest.raises(InvalidInput, match=r"window= must be .* axis of \(3, 12, 12\)"):
            sampled(method, twin(), x, 0, window=(3, 3))
        return
    with pytest.raises(InvalidInput, match="segments= must be a whole number or integer labels"):
        sampled(method, twin(), x, 0, segments=torch.ones(12, 12))
    with pytest.raises(InvalidInput, match="squares of edge 2 need images"):
        sampled(method, nn.Linear(4, 2), torch.ones(1, 4), 0, segments=2)
    if method != "feature-ablation":
        with pytest.raises(InvalidInput, match="compares segments, and there is only one"):
            sampled(method, twin(), x, 0, segments=12)


@pytest.mark.parametrize("method", SAMPLING)
def test_without_captum_the_error_names_the_extra(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(RelpropError, match=rf"{method}.*pip install 'relprop\[methods\]'"):
        sampled(method, twin(), images(1), 0)


# Any attribution of Captum's


def test_an_attribution_is_a_method(captum):
    x = images()
    method = captum_method(captum.IntegratedGradients, n_steps=16, baselines=0.2)
    wanted = captum.IntegratedGradients(twin()).attribute(x, 0.2, target=2, n_steps=16)
    found = method(twin(), x, 2)
    assert difference(found.relevance, wanted.detach()) <= 1e-10
    assert found.method == "captum:IntegratedGradients"
    assert method(twin(), x, "all").relevance.shape == (3, 5, 3, 12, 12)


def test_it_can_be_asked_for_by_name(captum):
    captum_method(captum.Saliency, name="captum-saliency", question="function", abs=False)
    try:
        found = relprop.explain(twin(), images(), 1, method="captum-saliency")
        wanted = relprop.explain(twin(), images(), 1, method="gradient").relevance
        assert difference(found.relevance, wanted) <= 1e-10
        assert METHODS["captum-saliency"].question == "function"
    finally:
        del METHODS["captum-saliency"]


def test_module_hooks_work_behind_a_softmax(captum):
    """Captum's DeepLIFT explains what stands before it, too."""
    method = captum_method(captum.DeepLift)
    x = images()
    found = method(twin(WithSoftmax), x, 2)
    wanted = captum.DeepLift(twin()).attribute(x.clone(), torch.zeros_like(x), target=2)
    assert difference(found.relevance, wanted.detach()) <= 1e-10
    assert torch.allclose(found.output, twin()(x).detach())


def test_wrapped_attributions_draw_from_a_seed(captum):
    def noisy(model):
        return captum.NoiseTunnel(captum.Saliency(model))

    model, x = twin(), images(2)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, same, other = (
        captum_method(noisy, nt_samples=4, stdevs=0.1, seed=seed)(model, x, 1).relevance
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.allclose(one, other)
    shap = captum_method(captum.GradientShap, baselines=torch.zeros(1, 3, 12, 12).double())
    assert torch.equal(*(shap(model, x, 1).relevance for _ in range(2)))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numbers).all()


def test_several_inputs_of_which_some_are_whole_numbers(captum):
    embedding = nn.Embedding(5, 4)

    def model(x, ids):
        return x * embedding(ids)

    x, ids = torch.randn(3, 4), torch.tensor([1, 0, 4])
    found = captum_method(captum.FeatureAblation, perturbations_per_eval=3)(model, (x, ids), 2)
    first, second = found.relevance
    assert second is None
    wanted = torch.zeros(3, 4)
    wanted[:, 2] = (x * embedding(ids))[:, 2]
    assert torch.allclose(first, wanted, atol=1e-6)


def test_attributions_that_are_no_maps_of_inputs_are_refused(captum):
    model = twin()
    method = captum_method(lambda scored: captum.LayerActivation(scored, model.conv1))
    with pytest.raises(InvalidInput, match="not shaped like the inputs"):
        method(model, images(), 1)
