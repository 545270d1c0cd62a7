"""Against Quantus 0.6.0."""

import warnings

import numpy as np
import pytest
import torch

from relprop import data, models
from relprop.evaluation import quantus_explain_func, region_perturbation


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def network_and_digits(count=6):
    network = models.load("lenet5")
    digits = [network.preprocessing(digit) for digit in data.sample_digits()[0][:count]]
    return network, torch.stack(digits)


def region_heatmaps(images, region):
    """A positive value for each region, all different: then no window over two regions ranks
    between theirs, and Quantus, which slides its windows, finds the same regions in the same order.
    """
    count = images.shape[2] // region
    drawn = torch.Generator().manual_seed(0)
    ranks = torch.stack([torch.randperm(count**2, generator=drawn) for _ in images])
    values = (ranks + 1.0).view(-1, count, count)
    return values.repeat_interleave(region, 1).repeat_interleave(region, 2)


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("region", [1, 4, 8])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_curves_equal_those_of_quantus(quantus, order, region, output):
    """On the same order and replacement. Quantus gives f(x_0) - f(x_k) without step 0, and applies
    a softmax unless told not to.
    """
    network, digits = network_and_digits()
    heatmaps = region_heatmaps(digits, region)
    if order == "lerf":  # negative, so that windows that hang over the edge do not come first;
        heatmaps = 1.5 - heatmaps  # but for the last region, since Quantus wants something positive
    steps = min(12, (32 // region) ** 2)
    target = network(digits).argmax(1)
    curve = region_perturbation(
        network, digits, heatmaps, region=region, steps=steps, order=order, fill=0.25, output=output
    )
    metric = quantus.RegionPerturbation(
        patch_size=region,
        order=order,
        regions_evaluation=steps,
        perturb_baseline=0.25,
        normalise=False,
        disable_warnings=True,
    )
    found = metric(
        model=network,
        x_batch=digits.numpy(),
        y_batch=target.numpy(),
        a_batch=heatmaps[:, None].numpy(),
        softmax=output == "probability",
        channel_first=True,
    )
    drops = np.array(found)
    assert drops.shape == (len(digits), steps)
    assert np.abs(curve.drops[0, :, 1:].numpy() - drops).max() <= 1e-5
    assert curve.aopc == pytest.approx(drops.sum(1).mean() / (steps + 1), abs=1e-5)
    if output == "logit" or region > 1:  # single pixels do not shake a probability
        assert np.abs(drops).max() > 0.1


def test_quantus_calls_our_methods(quantus):
    network, digits = network_and_digits(2)
    seen = []

    def explain(model, inputs, target):
        seen.append((model, inputs.shape, target.tolist()))
        inputs = inputs.requires_grad_()
        model(inputs).gather(1, target[:, None]).sum().backward()
        return inputs.grad

    metric = quantus.Sparseness(disable_warnings=True)
    found = metric(
        model=network,
        x_batch=digits.numpy(),
        y_batch=np.array([0, 0]),
        explain_func=quantus_explain_func(explain),
        channel_first=True,
    )
    assert len(found) == 2 and all(0 < value < 1 for value in found)
    assert seen[0][1:] == ((2, 1, 32, 32), [0, 0])


def test_the_adapter_works_without_quantus():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).double()
    func = quantus_explain_func(lambda model, x, y: x * y[:, None, None, None])
    found = func(network, np.ones((2, 1, 2, 2), np.float32), [2, 1], device="cpu")
    assert found.dtype == np.float64 and found[:, 0, 0, 0].tolist() == [2, 1]
