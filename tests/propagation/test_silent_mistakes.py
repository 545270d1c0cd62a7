"""What other engines get wrong, silently: each case against relevance worked out by hand.

With the plain rule (Epsilon(0)) and no biases, relevance of a piecewise linear network is the input
times the derivative: that is what most of these cases are compared with, besides the full sums.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference import operations as slow
from tests.reference import rules
from tests.reference.flatten import flatten
from tests.reference.measure import difference, gap, predicted, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

PLAIN = relprop.Epsilon(0)
EXACT = 1e-10


def weight(*shape):
    return torch.randn(*shape).double()


def explain(model, x, target=1, rule=PLAIN):
    explanation = relprop.explain(model, x, target, rules=rule)
    assert gap(explanation, explanation.output[:, target]) <= EXACT
    return explanation.relevance


def by_matrices(x, R, *layers, rule=rules.epsilon, **options):
    """R through functions that are linear, last one first; [N, n] throughout."""
    values = [x]
    for layer in layers:
        values.append(layer(values[-1]))
    for layer, below in zip(reversed(layers), reversed(values[:-1]), strict=True):
        W, b = flatten(layer, [tuple(below.shape[1:])])
        R = torch.stack(
            [
                rules.share(rule, v.reshape(-1), W, b, r.reshape(-1), **options)[0]
                for v, r in zip(below, R, strict=True)
            ]
        ).reshape(below.shape)
    return R


def at(output, target=1):
    start = torch.zeros_like(output)
    start[:, target] = output[:, target]
    return start.detach()


@pytest.mark.parametrize("rule", [PLAIN, relprop.ZPlus()], ids=str)
def test_average_pooling_called_as_a_function(rule):
    W, x = weight(3, 8), torch.rand(2, 2, 4, 4).double()

    def pool(v):
        return F.avg_pool2d(v, 2)

    def head(v):
        return F.linear(v.flatten(1), W)

    slow_rule, options = (rules.epsilon, {"epsilon": 0.0}) if rule == PLAIN else (rules.z_plus, {})
    wanted = by_matrices(x, at(head(pool(x))), pool, head, rule=slow_rule, **options)
    found = explain(Call(lambda v: head(pool(v))), x, rule=rule)
    assert difference(found, wanted) <= EXACT


def test_gelu_called_as_a_function():
    """R passes: not its derivative, and not nothing."""
    first, second, x = weight(5, 4), weight(3, 5), weight(2, 4)
    z = x @ first.T
    at_z = F.gelu(z) * second[1]
    wanted = by_matrices(x, at_z, lambda v: F.linear(v, first), epsilon=0.0)
    found = explain(Call(lambda v: F.linear(F.gelu(F.linear(v, first)), second)), x)
    assert difference(found, wanted) <= EXACT


def test_a_residual_sum_shares_by_contribution():
    """x + f(x): each branch gets in proportion to its value; nothing is counted twice."""
    first, head, x = weight(4, 4), weight(3, 4), weight(2, 4)
    branch = F.relu(x @ first.T)
    total = x + branch
    R = total * head[1]
    at_x, at_branch = x / total * R, branch / total * R
    wanted = at_x + by_matrices(x, at_branch, lambda v: F.linear(v, first), epsilon=0.0)
    found = explain(Call(lambda v: F.linear(v + F.relu(F.linear(v, first)), head)), x)
    assert difference(found, wanted) <= EXACT


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = (
            nn.Conv2d(width, width, 3, padding=1),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.norm_a, self.norm_b = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.norm_b(self.b(F.relu(self.norm_a(self.a(x))))))


def test_sixteen_residual_blocks_keep_the_sum():
    """Where a sum doubles relevance, sixteen of them make 2^16 times the logit."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), *(Block(4) for _ in range(16)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    explanation = relprop.explain(model.double().eval(), weight(2, 3, 8, 8))
    assert gap(explanation, predicted(explanation)) <= EXACT


def test_a_linear_layer_used_twice():
    layer, head, x = nn.Linear(4, 4, bias=False).double(), weight(3, 4), weight(5, 4)

    def model(v):
        return F.linear(F.relu(layer(F.relu(layer(v)))), head)

    found = explain(Call(model), x)
    moved = x.clone().requires_grad_()
    model(moved)[:, 1].sum().backward()
    assert (moved.grad.abs().amax(1) > 0).any()
    assert difference(found, x * moved.grad) <= EXACT


def test_one_layer_on_two_branches():
    layer, x = nn.Linear(4, 3).double().requires_grad_(False), weight(2, 4)
    model = Call(lambda v: layer(v) + F.relu(layer(2 * v)))
    left, right = layer(x), F.relu(layer(2 * x))
    R = at(left + right)
    share = R / (left + right)
    at_left = by_matrices(x, share * left, layer, epsilon=0.0)
    at_right = by_matrices(2 * x, share * right, layer, epsilon=0.0)
    found = explain(model, x)
    assert difference(found, at_left + at_right) <= EXACT


@pytest.mark.parametrize(
    ("rule", "reference", "options"),
    [
        (relprop.Epsilon(0.1), rules.epsilon, {"epsilon": 0.1}),
        (relprop.AlphaBeta(2, -1), rules.alpha_beta, {}),
        (relprop.Gamma(), rules.gamma, {}),
        (relprop.Flat(), rules.flat, {}),
    ],
    ids=["epsilon", "alpha-beta", "gamma", "flat"],
)
def test_convolution_and_linear_called_as_functions(rule, reference, options):
    kernel, bias, head, x = weight(3, 2, 3, 3), weight(3), weight(3, 12), weight(2, 2, 4, 4)

    def first(v):
        return F.conv2d(v, kernel, bias)

    def second(v):
        return F.linear(v.flatten(1), head)

    z = first(x)
    hidden = F.relu(z)
    at_z = by_matrices(hidden, at(second(hidden)), second, rule=reference, **options)
    wanted = by_matrices(x, at_z, first, rule=reference, **options)
    found = explain(Call(lambda v: second(F.relu(first(v)))), x, rule=rule)
    assert difference(found, wanted) <= EXACT


def test_a_gate_passes_everything_to_what_it_gates():
    """x * sigmoid(g(x)), the squeeze-and-excitation of EfficientNet."""
    g, head, x = weight(4, 4), weight(3, 4), weight(2, 4)
    gated = x * torch.sigmoid(x @ g.T)
    wanted = gated * head[1]
    found = explain(Call(lambda v: F.linear(v * torch.sigmoid(F.linear(v, g)), head)), x)
    assert difference(found, wanted) <= 1e-5


def test_layers_called_with_keywords():
    layer, x = nn.Linear(4, 3).double().requires_grad_(False), weight(2, 4)
    wanted = by_matrices(x, at(layer(x)), layer, epsilon=0.0)
    assert difference(explain(Call(lambda v: layer(input=v)), x), wanted) <= EXACT

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, *, pixels):
            return self.layer(input=pixels)

    found = relprop.explain(Named(), {"pixels": x}, 1, rules=PLAIN).relevance["pixels"]
    assert difference(found, wanted) <= EXACT


def test_layer_norm_keeps_the_sum():
    """Its derivative is orthogonal to the input: without care, relevance explodes or vanishes."""
    norm, head, x = nn.LayerNorm(6).double(), weight(3, 6), weight(2, 6)
    nn.init.normal_(norm.weight)
    model = nn.Sequential(norm, Call(lambda v: F.linear(v, head))).requires_grad_(False)
    R = norm(x) * head[1]
    zero = torch.zeros(6).double()
    wanted = slow.layer_norm(x, R.detach(), norm.weight, zero, epsilon=0.0)
    found = explain(model, x)
    assert difference(found, wanted) <= EXACT
    assert torch.allclose(found.sum(1), model(x)[:, 1])


def test_attention_is_refused_by_name_until_it_has_rules():
    model = nn.Sequential()
    model.add_module("attention", Call(lambda v: F.scaled_dot_product_attention(v, v, v).mean(1)))
    with pytest.raises(relprop.errors.UnsupportedOperation, match="scaled_dot_product_attention"):
        relprop.explain(model, torch.randn(2, 3, 4), 1)


class DenseLayer(nn.Module):
    """DenseNet's order: the norm of a concatenation, ReLU, then the convolution."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, 2, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def test_the_batch_norm_of_densenet_is_not_merged_into_a_wrong_neighbour():
    """The stem feeds the norm and the concatenation: the norm stands alone."""
    stem, dense = nn.Conv2d(1, 3, 3, padding=1), DenseLayer(3)
    nn.init.normal_(dense.norm.weight)
    nn.init.normal_(dense.norm.bias)
    nn.init.normal_(dense.norm.running_mean)
    nn.init.uniform_(dense.norm.running_var, 0.5, 2)
    head = nn.Linear(5 * 16, 3)
    model = nn.Sequential(stem, dense, nn.Flatten(), head).double().eval().requires_grad_(False)
    x = weight(2, 1, 4, 4)
    hidden = stem(x)
    normed = dense.norm(hidden)
    joined = dense(hidden)
    at_joined = by_matrices(joined.flatten(1), at(model(x)), head, epsilon=0.0)
    at_joined = at_joined.reshape(joined.shape)
    at_normed = by_matrices(F.relu(normed), at_joined[:, 3:], dense.conv, epsilon=0.0)
    at_hidden = at_joined[:, :3] + by_matrices(hidden, at_normed, dense.norm, epsilon=0.0)
    wanted = by_matrices(x, at_hidden, stem, epsilon=0.0)
    assert difference(explain(model, x), wanted) <= EXACT


def test_two_densenet_layers_in_a_row():
    """The convolution of one layer feeds a concatenation, not the norm that comes next."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), DenseLayer(3), DenseLayer(5), nn.BatchNorm2d(7), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 3),
    )  # fmt: skip
    for name, value in model.double().eval().named_buffers():
        if "mean" in name:
            nn.init.normal_(value)
    explanation = relprop.explain(model, weight(2, 1, 6, 6), rules="epsilon")
    assert gap(explanation, predicted(explanation)) <= EXACT


@pytest.mark.parametrize("rule", [relprop.ZPlus(), relprop.AlphaBeta(1, 0)], ids=str)
def test_alpha_one_beta_zero_on_negative_inputs(rule):
    """z+ = x+ w+ + x- w-: a negative input with a negative weight contributes."""
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0, -1.0]]))
    x = torch.tensor([[1.0, -3.0, 1.0]]).double()  # contributions 2, 3, -1: output 4
    found = explain(model, x, target=0, rule=rule)
    assert torch.allclose(found, torch.tensor([[1.6, 2.4, 0.0]]).double())


def test_alpha_two_beta_one_on_negative_inputs():
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0, -1.0]]))
    x = torch.tensor([[1.0, -3.0, 1.0]]).double()
    found = explain(model, x, target=0, rule=relprop.AlphaBeta(2, -1))
    assert torch.allclose(found, torch.tensor([[3.2, 4.8, -4.0]]).double())


@pytest.mark.parametrize(
    "activation", [F.leaky_relu, torch.tanh, F.gelu], ids=["leaky", "tanh", "gelu"]
)
def test_alpha_beta_after_activations_that_go_below_zero(activation):
    first, second, x = weight(6, 4), weight(3, 6), torch.rand(2, 4).double()
    hidden = activation(x @ first.T)
    output = hidden @ second.T
    at_hidden = by_matrices(
        hidden, starting_at(output)[1], lambda v: F.linear(v, second), rule=rules.alpha_beta
    )
    wanted = by_matrices(x, at_hidden, lambda v: F.linear(v, first), rule=rules.alpha_beta)
    with pytest.warns(relprop.errors.RelpropWarning):
        found = relprop.explain(
            Call(lambda v: F.linear(activation(F.linear(v, first)), second)),
            x,
            starting_at(output)[0],
            rules=relprop.AlphaBeta(2, -1),
        ).relevance
    assert difference(found, wanted) <= EXACT
