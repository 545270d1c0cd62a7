"""Batch norm folded or decomposed; the other normalisations with their scale held constant."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference import operations as slow
from tests.reference import rules
from tests.reference.flatten import flatten
from tests.reference.measure import difference, gap, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

EXACT = 1e-10


def explain(model, x, rule):
    model = model.double().eval()
    with torch.no_grad():
        weights, start = starting_at(model(x))
    explanation = relprop.explain(model, x, weights, rules=rule)
    assert gap(explanation, start.flatten(1).sum(1)) <= EXACT
    return explanation.relevance, start


def randomised(model):
    """Weights, biases and statistics as after training, none of them 0 or 1."""
    model.double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.5)
    for name, buffer in model.named_buffers():
        if "mean" in name:
            nn.init.normal_(buffer)
        elif "var" in name:
            nn.init.uniform_(buffer, 0.5, 2)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("shape", [(3, 6), (2, 4, 6)])
def test_layer_norm(shape, epsilon):
    model = randomised(nn.LayerNorm(6))
    x = torch.randn(*shape).double()
    found, start = explain(model, x, relprop.Epsilon(epsilon))
    wanted = slow.layer_norm(x, start, model.weight, model.bias, epsilon=epsilon)
    assert difference(found, wanted) <= EXACT


def test_layer_norm_over_two_axes_without_weights():
    model = nn.LayerNorm((3, 4), elementwise_affine=False)
    x = torch.randn(2, 3, 4).double()
    found, start = explain(model, x, relprop.Epsilon(0))
    one, none = torch.ones(()).double(), torch.zeros(()).double()
    wanted = slow.layer_norm(x.flatten(1), start.flatten(1), one, none, epsilon=0.0)
    assert difference(found, wanted.reshape(x.shape)) <= EXACT


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 3, 2)])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm(groups, shape):
    model = randomised(nn.GroupNorm(groups, 6))
    x = torch.randn(*shape).double()
    found, start = explain(model, x, relprop.Epsilon(1e-6))
    wanted = slow.group_norm(x, start, groups, model.weight, model.bias)
    assert difference(found, wanted) <= EXACT


def test_instance_norm():
    model = randomised(nn.InstanceNorm2d(3, affine=True))
    x = torch.randn(2, 3, 4, 3).double()
    found, start = explain(model, x, relprop.Epsilon(0))
    wanted = slow.group_norm(x, start, 3, model.weight, model.bias, epsilon=0.0)
    assert difference(found, wanted) <= EXACT


def test_rms_norm():
    model = randomised(nn.RMSNorm(6, eps=1e-5))
    x = torch.randn(2, 4, 6).double()
    found, start = explain(model, x, relprop.Epsilon(0))
    assert difference(found, slow.rms_norm(x, start, model.weight, 1e-5, epsilon=0.0)) <= EXACT


def test_normalize_holds_its_scale_constant():
    """Each output has one input, so nothing is to be shared."""
    x = torch.randn(3, 5).double()
    found, start = explain(Call(lambda v: F.normalize(v, dim=1)), x, relprop.Epsilon(0))
    assert difference(found, start) <= EXACT


class HandLayerNorm(nn.Module):
    """Layer normalisation as timm and ConvNeXt write it out."""

    def __init__(self, size):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        square = (x - mean).pow(2).mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt(square + 1e-5) * self.weight + self.bias


class HandRMSNorm(HandLayerNorm):
    """Root mean square normalisation as Llama writes it out."""

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def test_hand_written_layer_norm_equals_the_layer():
    model = randomised(HandLayerNorm(6))
    x = torch.randn(3, 4, 6).double()
    found, start = explain(model, x, relprop.Epsilon(0))
    wanted = slow.layer_norm(x, start, model.weight, model.bias, epsilon=0.0)
    assert difference(found, wanted) <= 1e-9


def test_hand_written_rms_norm_equals_the_layer():
    model = randomised(HandRMSNorm(6))
    x = torch.randn(3, 4, 6).double()
    found, start = explain(model, x, relprop.Epsilon(0))
    wanted = slow.rms_norm(x, start, model.weight, 1e-5, epsilon=0.0)
    assert difference(found, wanted) <= 1e-9


FOLDS = {
    "conv1d": (nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), (2, 7)),
    "conv2d": (nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), (2, 4, 5)),
    "depthwise": (nn.Conv2d(3, 3, 3, groups=3), nn.BatchNorm2d(3), (3, 4, 5)),
    "transposed": (nn.ConvTranspose2d(2, 3, 2, stride=2), nn.BatchNorm2d(3), (2, 3, 3)),
    "dense": (nn.Linear(5, 3), nn.BatchNorm1d(3), (5,)),
    "without weights": (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False), (2, 4, 4)),
}
FOLDED = {
    "epsilon": (relprop.Epsilon(0.1), rules.epsilon, {"epsilon": 0.1}),
    "alphabeta": (relprop.AlphaBeta(2, -1), rules.alpha_beta, {}),
    "gamma": (relprop.Gamma(0.25), rules.gamma, {}),
    "flat": (relprop.Flat(), rules.flat, {}),
    "w-square": (relprop.WSquare(), rules.w_square, {}),
}


@pytest.mark.parametrize("rule_name", FOLDED)
@pytest.mark.parametrize("name", FOLDS)
def test_batch_norm_is_folded_into_what_feeds_it(name, rule_name):
    linear, norm, shape = FOLDS[name]
    rule, reference, options = FOLDED[rule_name]
    model = randomised(nn.Sequential(linear, norm))
    x = torch.randn(2, *shape).double()
    found, start = explain(model, x, rule)
    W, b = flatten(model, [shape])
    wanted = torch.stack(
        [
            rules.share(reference, sample.reshape(-1), W, b, R.reshape(-1), **options)[0]
            for sample, R in zip(x, start, strict=True)
        ]
    )
    assert difference(found.flatten(1), wanted) <= EXACT


def test_batch_norm_that_shares_its_convolution_is_not_folded():
    """The convolution also feeds the sum: folding would change what the other branch sees."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)

        def forward(self, x):
            z = self.linear(x)
            return self.norm(z) + z

    model = randomised(Shared())
    x = torch.randn(2, 4).double()
    found, start = explain(model, x, relprop.Epsilon(0))
    rows = []
    for sample, R in zip(x, start, strict=True):
        z = model.linear(sample[None])[0]
        n = model.norm(z[None])[0]
        s = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
        at_z = z / (n + z) * R + (z * s / n) * (n / (n + z) * R)
        W, b = flatten(model.linear, [(4,)])
        rows.append(rules.share(rules.epsilon, sample, W, b, at_z, epsilon=0.0)[0])
    assert difference(found, torch.stack(rows)) <= 1e-9


def test_standalone_batch_norm_after_relu_is_decomposed_over_its_addends():
    """Thesis 2.54 with a stabiliser: DenseNet's order, norm before convolution."""
    model = randomised(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten()))
    x = torch.randn(2, 3, 2, 2).double()
    found, start = explain(model, x, "epsilon")
    norm = model[1]
    s = (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None]
    y = model[:2](x)
    z = y + 1e-6 * rules.sign(y)
    assert difference(found, x.relu() * s / z * start.reshape(x.shape)) <= EXACT


def test_batch_norm_passes_on_request():
    model = randomised(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()))
    x = torch.randn(2, 3, 2, 2).double()
    preset = relprop.Preset([(relprop.where(kind="normalisation"), relprop.Pass())], name="pass")
    found, start = explain(model, x, preset)
    assert difference(found.flatten(1), start) <= EXACT


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 7, 2, 3)])
def test_local_response_norm(shape, size):
    model = nn.LocalResponseNorm(size, alpha=0.5, beta=0.75, k=2.0)
    x = torch.randn(*shape).double()
    found, start = explain(model, x, None)
    wanted = slow.local_response_norm(x, start, size, alpha=0.5, beta=0.75, k=2.0)
    assert difference(found, wanted) <= EXACT


def test_local_response_norm_with_the_thesis_constants():
    x = 10 * torch.rand(2, 8, 2, 3).double()
    found, start = explain(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0), x, None)
    assert difference(found, slow.local_response_norm(x, start, 5)) <= EXACT


def test_local_response_norm_passes_on_request():
    x = torch.randn(2, 6, 2, 3).double()
    preset = relprop.Preset([(relprop.where(kind="normalisation"), relprop.Pass())], name="pass")
    found, start = explain(nn.LocalResponseNorm(3, alpha=0.5), x, preset)
    assert difference(found, start) <= EXACT
