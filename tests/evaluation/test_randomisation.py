"""Model parameter randomisation, against SciPy, NumPy and Quantus 0.6.0."""

import copy
import math
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn.utils import prune  # noqa: F401  nn.utils.prune

from relprop import data, models
from relprop.errors import InvalidInput, InvalidTarget, UnknownName
from relprop.evaluation import (
    histogram_entropy,
    map_similarity,
    noise_averaged,
    quantus_explain_func,
    randomisation_test,
    randomised,
)


def gradient(model, images, classes):
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(model(images).gather(1, classes[:, None]).sum(), images)
    return slope[:, 0]


def gradient_x_input(model, images, classes):
    return gradient(model, images, classes) * images[:, 0]


@pytest.fixture(scope="module")
def digits():
    network = models.load("lenet5")
    return torch.stack([network.preprocessing(digit) for digit in data.sample_digits()[0][:6]])


@pytest.fixture
def lenet():
    return models.load("lenet5")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The measures


@pytest.mark.parametrize("signed", [False, True])
def test_similarity_is_spearmans(signed):
    first, second = drawn(5, 6, 7).mul(3).round(), drawn(5, 6, 7, seed=1).mul(3).round()  # ties
    found = map_similarity(first, second, signed=signed)
    for *pair, value in zip(first, second, found.tolist(), strict=True):
        rows = [(one if signed else one.abs()).flatten() for one in pair]
        assert value == pytest.approx(scipy.stats.spearmanr(*rows).statistic, abs=1e-12)
    opposite = map_similarity(first, -2 * first, signed=signed)
    assert opposite.tolist() == pytest.approx([-1 if signed else 1] * 5)


def test_a_constant_map_is_similar_to_nothing():
    assert map_similarity(torch.ones(1, 2, 2), drawn(1, 2, 2)).tolist() == [0]
    assert map_similarity(torch.ones(1, 2, 2), torch.ones(1, 2, 2)).tolist() == [0]


@pytest.mark.parametrize("bins", [2, 10, 100])
def test_entropy_is_that_of_numpys_histogram(bins):
    maps = drawn(5, 9, 11)
    for one, value in zip(maps, histogram_entropy(maps, bins=bins).tolist(), strict=True):
        counts, _ = np.histogram(one.numpy(), bins=bins)
        assert value == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-12)


def test_ends_of_the_entropys_range():
    assert histogram_entropy(torch.full((1, 3, 3), 5.0)).tolist() == [0]
    levels = torch.arange(64.0).view(1, 8, 8)
    assert float(histogram_entropy(levels, bins=16)) == pytest.approx(4)


# The models


KINDS = ("weight", "bias")


def test_layers_are_randomised_one_after_another(lenet):
    before = copy.deepcopy(lenet.state_dict())
    steps = list(randomised(lenet))
    assert [name for name, _ in steps] == ["conv1", "conv2", "conv3", "conv4"]
    for number, (_, changed) in enumerate(steps, start=1):
        after = changed.state_dict()
        differ = [key for key in before if not torch.equal(before[key], after[key])]
        expected = [f"conv{layer}.{kind}" for layer in range(1, number + 1) for kind in KINDS]
        assert differ == expected
    assert all(torch.equal(before[key], value) for key, value in lenet.state_dict().items())


def test_top_down_starts_above_and_ends_at_the_same_model(lenet):
    up, down = list(randomised(lenet)), list(randomised(lenet, order="top-down"))
    assert [name for name, _ in down] == ["conv4", "conv3", "conv2", "conv1"]
    assert torch.equal(down[0][1].conv1.weight, lenet.conv1.weight)
    for key, value in up[-1][1].state_dict().items():
        assert torch.equal(value, down[-1][1].state_dict()[key])


def test_a_seed_gives_the_same_model_and_leaves_torchs_generator_alone(lenet):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    (_, one), (_, same), (_, other) = (
        list(randomised(lenet, layers=["conv4"], seed=seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(one.conv4.weight, same.conv4.weight)
    assert not torch.equal(one.conv4.weight, other.conv4.weight)


def test_statistics_of_batch_norm_are_lost_too():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    model[1].running_mean += 1
    *_, (_, changed) = randomised(model)
    assert changed[1].running_mean.tolist() == [0, 0, 0]
    assert model[1].running_mean.tolist() == [1, 1, 1]


def test_layers_and_their_draws_can_be_named(lenet):
    def zero(layer):
        for parameter in layer.parameters():
            parameter.zero_()

    (name, changed), *rest = randomised(lenet, layers=["conv2"], reset=zero)
    assert name == "conv2" and not rest
    assert not changed.conv2.weight.any()
    assert torch.equal(changed.conv1.weight, lenet.conv1.weight)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3))

    def forward(self, values):
        return values * self.factor


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (nn.Linear(3, 3), {"order": "sideways"}, UnknownName, "bottom-up, top-down"),
        (nn.ReLU(), {}, InvalidInput, "ReLU has no parameters"),
        (nn.Sequential(Scale()), {}, InvalidInput, "'0' (Scale) has parameters and no reset_para"),
        (nn.Sequential(nn.Linear(3, 3)), {"layers": ["1"]}, UnknownName, "unknown layer '1'"),
        (nn.Sequential(nn.ReLU()), {"layers": ["0"]}, InvalidInput, "'0' has no parameters"),
        (nn.Linear(3, 3), {"layers": []}, InvalidInput, "name one at least"),
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))),
            {"layers": ["0"]},
            InvalidInput,
            "'0' (ParametrizedLinear) are made of other parameters",
        ),
        (
            nn.Sequential(nn.utils.prune.l1_unstructured(nn.Linear(3, 3), "weight", 1)),
            {},
            InvalidInput,
            "'0' (Linear) are made of other parameters",
        ),
        (nn.Linear(3, 3), {"seed": 0.5}, InvalidInput, "seed is 0.5"),
    ],
)
def test_what_cannot_be_randomised_is_refused_at_once(model, options, error, message):
    with pytest.raises(error) as raised:
        randomised(model, **options)
    assert message in str(raised.value)


# The test


def test_a_map_that_ignores_the_model_fails_the_test_and_the_gradient_does_not(lenet, digits):
    image = randomisation_test(lenet, digits, lambda model, images, classes: images[:, 0])
    assert image.similarity.shape == (4, 6) and image.complexity.shape == (5, 6)
    assert float(image.mean_similarity) == pytest.approx(1)
    assert float(image.complexity_rise) == pytest.approx(0)
    gradient = randomisation_test(lenet, digits, gradient_x_input)
    assert gradient.mean_similarity.high < 0.95
    assert abs(float(gradient.complexity_rise)) > 0.01


def test_it_does_what_its_parts_do(lenet, digits):
    classes = lenet(digits).argmax(1)
    found = randomisation_test(lenet, digits, gradient_x_input, order="top-down", batch_size=4)
    first = gradient_x_input(lenet, digits, classes)
    for step, (name, model) in enumerate(randomised(lenet, order="top-down")):
        maps = gradient_x_input(model, digits, classes)  # the class stays
        assert found.layers[step] == name
        close = {"atol": 1e-5, "rtol": 0}
        torch.testing.assert_close(found.similarity[step], map_similarity(first, maps), **close)
        torch.testing.assert_close(
            found.complexity[step + 1], histogram_entropy(maps), atol=0.2, rtol=0
        )  # a rounding may move a pixel to the next bin
    assert float(found.last_similarity) == pytest.approx(float(found.similarity[-1].mean()))
    rise = (found.complexity[-1] - found.complexity[0]) / found.complexity[0]
    assert float(found.complexity_rise) == pytest.approx(float(rise.mean()))


def test_rows_and_table(lenet, digits):
    found = randomisation_test(lenet, digits, gradient_x_input)
    frame = found.to_frame()
    assert frame["layer"].tolist() == ["", "conv1", "conv2", "conv3", "conv4"]
    assert frame["similarity"][0] == 1
    assert (frame["similarity_low"] <= frame["similarity_high"]).all()
    assert frame["complexity"][4] == pytest.approx(float(found.complexity[4].mean()))


def test_constant_maps_are_left_out_of_the_rise_and_named(lenet, digits):
    def first_is_blank(model, images, classes):
        maps = gradient_x_input(model, images, classes)
        maps[0] = 0
        return maps

    found = randomisation_test(lenet, digits, first_is_blank)
    assert found.left_out == [0]
    assert len(found.complexity_rise.per_image) == 5
    blank = randomisation_test(lenet, digits, lambda model, images, classes: 0 * images)
    with pytest.raises(InvalidInput, match="no relative rise"):
        _ = blank.complexity_rise


def test_averaging_over_noise(lenet, digits):
    """With a map linear in its image, the mean over noise tends to the map itself."""
    seen = []

    def explain(model, images, classes):
        seen.append(images)
        return images[:, 0]

    averaged = noise_averaged(explain, samples=64, noise=0.5)(lenet, digits, None)
    assert len(seen) == 64 and torch.equal(seen[0], digits)
    deviation = torch.stack([(noisy - digits) for noisy in seen[1:]]).std()
    assert float(deviation) == pytest.approx(0.5 * 2, rel=0.01)  # digits lie in [-1, 1]
    assert float((averaged - digits[:, 0]).std()) == pytest.approx(1 / math.sqrt(64), rel=0.1)
    again = noise_averaged(explain, samples=64, noise=0.5)(lenet, digits[2:4], None)
    torch.testing.assert_close(again, averaged[2:4])  # the noise goes with the image
    one = noise_averaged(explain, samples=1)(lenet, digits, None)
    assert torch.equal(one, digits[:, 0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 10}, InvalidTarget, "0..9"),
        ({"bins": 0}, InvalidInput, "bins is 0"),
        ({"batch_size": 0}, InvalidInput, "batch_size is 0"),
        ({"order": "random"}, UnknownName, "top-down"),
    ],
)
def test_options_are_checked(lenet, digits, options, error, message):
    with pytest.raises(error) as raised:
        randomisation_test(lenet, digits, gradient_x_input, **options)
    assert message in str(raised.value)


def test_wrong_maps_models_and_noise_are_refused(lenet, digits):
    def infinite_when_random(model, images, classes):
        trained = torch.equal(model.conv1.weight, lenet.conv1.weight)
        return images if trained else images / 0

    with pytest.raises(InvalidInput, match="NaN.*randomised bottom-up as far as 'conv1'"):
        randomisation_test(lenet, digits, infinite_when_random)
    with pytest.raises(InvalidInput, match="1 heatmaps for 6"):
        randomisation_test(lenet, digits, lambda model, images, classes: images[:1])
    with pytest.raises(InvalidInput, match="torch module.*function"):
        randomisation_test(lambda images: images, digits, gradient_x_input)
    with pytest.raises(InvalidInput, match=r"images are \[0, 1\]"):
        randomisation_test(lenet, torch.zeros(0, 1), gradient_x_input)
    with pytest.raises(InvalidInput, match="do not compare"):
        map_similarity(torch.ones(1, 2, 2), torch.ones(1, 2, 3))
    with pytest.raises(InvalidInput, match="noise is -1"):
        noise_averaged(gradient_x_input, noise=-1)
    with pytest.raises(InvalidInput, match="samples is 0"):
        noise_averaged(gradient_x_input, samples=0)


# Against Quantus


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


class Fixed(nn.Linear):
    """Is redrawn as its own shape says, so that both libraries get the same random model."""

    def reset_parameters(self):
        drawn = torch.Generator().manual_seed(self.in_features)
        with torch.no_grad():
            self.weight.normal_(0, 0.3, generator=drawn)
            self.bias.normal_(0, 0.3, generator=drawn)


@pytest.fixture(scope="module")
def network():
    """Weights unlike those it is redrawn with."""
    model = nn.Sequential(nn.Flatten(), Fixed(64, 24), nn.Tanh(), Fixed(24, 16), nn.Tanh())
    model.append(Fixed(16, 4))
    drawn = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4, generator=drawn)
    return model.eval()


def with_quantus(metric, network, images):
    classes = network(images).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=network,
            x_batch=images.numpy(),
            y_batch=classes.numpy(),
            explain_func=quantus_explain_func(gradient_x_input),
            channel_first=True,
            batch_size=64,
        )


@pytest.mark.parametrize("order", ["bottom-up", "top-down"])
def test_similarities_equal_those_of_quantus(quantus, network, order):
    """MPRT."""
    images = drawn(5, 1, 8, 8).float()
    metric = quantus.MPRT(layer_order=order.replace("-", "_"), disable_warnings=True)
    scores = with_quantus(metric, network, images)
    found = randomisation_test(network, images, gradient_x_input, order=order)
    assert list(scores) == ["original", *found.layers]
    for layer, similarity in zip(found.layers, found.similarity, strict=True):
        assert similarity.tolist() == pytest.approx(scores[layer], abs=1e-3)  # ranks may swap
        assert np.mean(scores[layer]) < 0.9


@pytest.mark.parametrize(
    ("samples", "noise", "tolerance"),
    [(1, 0.1, 1e-3), (3, 0.0, 1e-3), (400, 0.1, 0.1)],  # without noise exactly, with it closely
)
def test_smooth_similarities_are_those_of_quantus(quantus, network, samples, noise, tolerance):
    """Smooth MPRT of the plain gradient: there, Quantus 0.6.0 explains by nothing else."""
    images = drawn(5, 1, 8, 8).float()
    metric = quantus.SmoothMPRT(nr_samples=samples, noise_magnitude=noise, disable_warnings=True)
    np.random.seed(0)
    scores = with_quantus(metric, network, images)
    explain = noise_averaged(gradient, samples=samples, noise=noise)
    found = randomisation_test(network, images, explain)
    for layer, similarity in zip(found.layers, found.similarity, strict=True):
        assert similarity.tolist() == pytest.approx(scores[layer], abs=tolerance)


def test_the_rise_of_complexity_equals_that_of_quantus(quantus, network):
    """Efficient MPRT."""
    images = drawn(5, 1, 8, 8).float()
    scores = with_quantus(quantus.EfficientMPRT(disable_warnings=True), network, images)
    found = randomisation_test(network, images, gradient_x_input)
    assert found.complexity_rise.per_image.tolist() == pytest.approx(scores, abs=1e-6)
    assert max(map(abs, scores)) > 0.01
