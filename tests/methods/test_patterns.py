"""Patterns: the signal is recovered from data where it is known; and what is made of patterns."""

import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidInput, StoreMismatch, UnknownName, UnsupportedOperation
from relprop.methods import Patterns, haufe_patterns, learn_patterns
from tests.methods.twins import WAYS, Modules, images, twin
from tests.reference.measure import difference

SIGNAL = torch.tensor([1.0, 0.0, 2.0]).double()
DISTRACTION = torch.tensor([1.0, 1.0, -1.0]).double()


def toy(samples=20_000, *, seed=0):
    """x = s a + e d: a is the signal, and d is in the way (Kindermans et al. 2017, fig. 2)."""
    generator = torch.Generator().manual_seed(seed)
    s, e = torch.randn(2, samples, generator=generator, dtype=torch.float64)
    return s[:, None] * SIGNAL + e[:, None] * DISTRACTION, s


def detector():
    """w with w a = 1 and w d = 0, so that w x = s; it is far from a."""
    layer = nn.Linear(3, 1, bias=False).double()
    system = torch.stack([SIGNAL, DISTRACTION])
    weight = torch.linalg.lstsq(system, torch.tensor([[1.0], [0.0]]).double()).solution.T
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def the_pattern(patterns):
    (found,) = patterns.tensors.values()
    return found.flatten().double()


@pytest.mark.parametrize("estimator", ["linear", "relu"])
def test_the_pattern_of_a_linear_neuron_is_the_signal(estimator):
    x, _ = toy()
    layer = detector()
    assert not torch.allclose(layer.weight[0], SIGNAL, atol=0.3)
    found = learn_patterns(layer, x.split(1000), estimator=estimator)
    assert torch.allclose(the_pattern(found), SIGNAL, atol=0.03)
    assert found.samples == 20_000 and found.estimator == estimator


def test_the_two_component_pattern_of_a_rectified_neuron_is_the_signal():
    """The signal has one direction where the neuron fires, another where it does not."""
    generator = torch.Generator().manual_seed(1)
    s, e = torch.randn(2, 40_000, generator=generator, dtype=torch.float64)
    other = torch.tensor([2.0, -1.0, 1.0]).double()
    layer = detector()
    other = other / (layer.weight[0].detach() @ other)
    signal = torch.where(s[:, None] > 0, s[:, None] * SIGNAL, s[:, None] * other)
    x = signal + e[:, None] * DISTRACTION
    model = nn.Sequential(layer, nn.ReLU())
    found = the_pattern(learn_patterns(model, x.split(1000)))
    assert torch.allclose(found, SIGNAL, atol=0.05)
    plain = the_pattern(learn_patterns(model, x.split(1000), estimator="linear"))
    assert not torch.allclose(plain, SIGNAL, atol=0.3)


@pytest.mark.parametrize("estimator", ["linear", "relu"])
def test_patterns_are_their_formula(estimator):
    """a = cov(x, y) / var(y) over inputs that fire, neuron by neuron, for a layer with a bias."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    x = torch.randn(200, 4).double() + 1
    found = learn_patterns(model, [x[:70], x[70:]], estimator=estimator)
    hidden = model[1](model[0](x)).detach()
    for name, layer, read in (("0", model[0], x), ("2", model[2], hidden)):
        y = layer(read).detach()
        for k, weight in enumerate(layer.weight.detach()):
            fires = y[:, k] > 0 if estimator == "relu" and name == "0" else torch.ones(200) > 0
            part, said = read[fires], y[fires, k]
            numerator = (part * said[:, None]).mean(0) - part.mean(0) * said.mean()
            wanted = numerator / (weight @ numerator)
            assert torch.allclose(found.tensors[name][:, k].double(), wanted, atol=1e-5)


def test_a_convolution_learns_from_all_its_patches():
    layer = nn.Conv2d(2, 3, 3, padding=1, stride=2).double()
    x = torch.randn(5, 2, 9, 9).double()
    found = learn_patterns(nn.Sequential(layer, nn.ReLU()), [x])
    patches = nn.functional.unfold(x, 3, padding=1, stride=2).mT.flatten(0, 1)
    dense = nn.Linear(18, 3).double()
    with torch.no_grad():
        dense.weight.copy_(layer.weight.flatten(1))
        dense.bias.copy_(layer.bias)
    wanted = learn_patterns(nn.Sequential(dense, nn.ReLU()), [patches])
    assert torch.allclose(found.tensors["0"].flatten(1), wanted.tensors["0"].T, atol=1e-5)


def test_groups_of_a_convolution_learn_apart():
    layer = nn.Conv2d(4, 6, 3, groups=2).double()
    x = torch.randn(5, 4, 9, 9).double()
    found = learn_patterns(layer, [x]).tensors["convolution"]
    for group in range(2):
        alone = nn.Conv2d(2, 3, 3).double()
        with torch.no_grad():
            alone.weight.copy_(layer.weight[3 * group : 3 * group + 3])
            alone.bias.copy_(layer.bias[3 * group : 3 * group + 3])
        wanted = learn_patterns(alone, [x[:, 2 * group : 2 * group + 2]])
        (one,) = wanted.tensors.values()
        assert torch.allclose(found[3 * group : 3 * group + 3], one, atol=1e-5)


def as_weights(model, x):
    """Patterns that are the weights, batch norm included."""
    found = learn_patterns(model, [x])
    layers = dict(model.named_modules())
    tensors = {}
    for name in found.tensors:
        layer = layers[name]
        weight = layer.weight.detach()
        if layer is model.conv2:
            scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
            weight = weight * scale.detach()[:, None, None, None]
        tensors[name] = weight.T if isinstance(layer, nn.Linear) else weight
    return Patterns(tensors, "linear", 1)


@pytest.mark.parametrize("way", [Modules, *WAYS])
def test_with_weights_for_patterns_patternnet_is_the_gradient_times_the_output(way):
    x = images()
    patterns = as_weights(twin(), x)
    found = relprop.explain(twin(way), x, "all", method="patternnet", patterns=patterns)
    gradient = relprop.explain(twin(way), x, "all", method="gradient").relevance
    assert difference(found.relevance, found.output[..., None, None, None] * gradient) <= 1e-6


def test_pattern_attribution_of_a_linear_neuron_sums_to_its_output():
    """w a = 1, so that w * a shares all of w x."""
    x, s = toy()
    patterns = learn_patterns(detector(), [x])
    found = relprop.explain(detector(), x[:50], method="pattern-attribution", patterns=patterns)
    assert torch.allclose(found.relevance.sum(1), s[:50], atol=1e-6)
    signal = relprop.explain(detector(), x[:50], method="patternnet", patterns=patterns)
    assert torch.allclose(signal.relevance, s[:50, None] * the_pattern(patterns), atol=1e-6)
    assert (found.pooling, signal.pooling) == ("sum", "l2")  # contributions add up, signals do not


def test_pattern_attribution_is_patternnet_with_weights_times_patterns():
    x = images()
    patterns = learn_patterns(twin(), [x])
    weights = as_weights(twin(), x).tensors
    products = {name: tensor * weights[name] for name, tensor in patterns.tensors.items()}
    found = relprop.explain(twin(), x, 2, method="pattern-attribution", patterns=patterns)
    wanted = relprop.explain(
        twin(), x, 2, method="patternnet", patterns=Patterns(products, "relu", 1)
    )
    assert difference(found.relevance, wanted.relevance) <= 1e-5


def test_batch_norm_is_part_of_its_neuron():
    """The pattern of a scaled neuron explains what the ReLU reads, also for a negative scale."""
    x, _ = toy()
    norm = nn.BatchNorm1d(1).double()
    with torch.no_grad():
        norm.weight.fill_(-2.0)
        norm.running_var.fill_(4.0)
        norm.bias.fill_(0.3)
    model = nn.Sequential(detector(), norm).eval()
    found = the_pattern(learn_patterns(model, [x], estimator="linear"))
    scale = -2.0 / (4.0 + norm.eps) ** 0.5
    assert torch.allclose(found * scale, SIGNAL, atol=0.05)


def test_a_neuron_that_never_fires_has_no_pattern():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    nn.init.constant_(model[0].bias, -100.0)
    found = learn_patterns(model, [torch.randn(50, 3)])
    assert torch.count_nonzero(found.tensors["0"]) == 0


def test_patterns_are_saved_and_read_back(tmp_path):
    patterns = learn_patterns(twin(), [images()])
    read = Patterns.load(patterns.save(tmp_path / "patterns.safetensors"))
    assert list(read.tensors) == list(patterns.tensors)
    assert all(torch.equal(read.tensors[k], patterns.tensors[k]) for k in read.tensors)
    assert (read.estimator, read.samples) == ("relu", 3)
    with pytest.raises(InvalidInput, match="patterns are saved as .safetensors"):
        patterns.save(tmp_path / "patterns.npz")
    with pytest.raises(InvalidInput, match="no file"):
        Patterns.load(tmp_path / "nothing.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InvalidInput, match="is no file of patterns"):
        Patterns.load(tmp_path / "bad.safetensors")
    relprop.explain(twin(), images(), 1, method="gradient").save(tmp_path / "map.safetensors")
    with pytest.raises(InvalidInput, match="does not hold patterns that relprop saved"):
        Patterns.load(tmp_path / "map.safetensors")


def test_what_cannot_be_done_is_refused():
    x = torch.randn(3, 4)
    with pytest.raises(InvalidInput, match="'patternnet' needs patterns=: relprop.methods.learn"):
        relprop.explain(nn.Linear(4, 2), x, method="patternnet")
    other = learn_patterns(nn.Sequential(nn.Linear(4, 3)), [x])
    with pytest.raises(StoreMismatch, match="the patterns are of another model: layer '0'"):
        relprop.explain(nn.Sequential(nn.Linear(4, 2)), x, method="patternnet", patterns=other)
    with pytest.raises(UnknownName, match="unknown estimator of patterns 'two'"):
        learn_patterns(nn.Linear(4, 2), [x], estimator="two")
    with pytest.raises(InvalidInput, match="no patterns can be learned: batches is empty"):
        learn_patterns(nn.Linear(4, 2), [])
    with pytest.raises(InvalidInput, match="no dense layer or convolution"):
        learn_patterns(nn.ReLU(), [x])
    with pytest.raises(UnsupportedOperation, match="has no patterns"):
        learn_patterns(nn.ConvTranspose1d(2, 2, 2), [torch.randn(2, 2, 5)])
    squared = nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1), nn.Linear(4, 2))
    patterns = learn_patterns(squared, [x])
    with pytest.raises(UnsupportedOperation, match="patternnet is defined for networks of dense"):
        relprop.explain(squared, x, method="patternnet", patterns=patterns)


def test_haufe_patterns_are_the_signal():
    x, s = toy()
    weight = detector().weight[0].detach()
    found = haufe_patterns(x, weight)
    assert torch.allclose(found, SIGNAL, atol=0.03)
    assert torch.allclose(the_pattern(learn_patterns(detector(), [x])), found, atol=1e-5)
    array = haufe_patterns(x.numpy(), weight.numpy())
    assert array.shape == (3,) and abs(array - found.numpy()).max() <= 1e-12


def test_haufe_patterns_of_several_outputs_and_of_estimators():
    """A = cov(x) W cov(s)^-1; for as many outputs as inputs that is the inverse of W."""
    x = torch.randn(500, 3).double()
    weights = torch.randn(3, 3).double()
    assert torch.allclose(haufe_patterns(x, weights), torch.linalg.inv(weights).mT, atol=1e-9)
    linear_model = pytest.importorskip("sklearn.linear_model")
    data, s = toy(2000)
    one = linear_model.LinearRegression().fit(data.numpy(), s.numpy())
    assert abs(haufe_patterns(data.numpy(), one) - SIGNAL.numpy()).max() <= 0.1
    labels = (s > 0.5).long() + (s > -0.5).long()
    several = linear_model.LogisticRegression().fit(data.numpy(), labels.numpy())
    assert haufe_patterns(data.numpy(), several).shape == (3, 3)
    with pytest.raises(InvalidInput, match=r"patterns need data \[n, d\]"):
        haufe_patterns(data, torch.ones(4))
