"""Models written in unusual ways: each once gave a wrong number, or a raw error."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput, UnsupportedOperation
from tests.reference.measure import difference

PLAIN = relprop.Epsilon(0)
dense = nn.Linear(4, 4, bias=False).double().requires_grad_(False)


@pytest.mark.parametrize(
    "mix",
    [
        lambda y: (y.unsqueeze(1) + y).sum(1),
        lambda y: y * torch.sigmoid(y.mean(1)),
        lambda y: y / y.mean(1),
        lambda y: torch.maximum(y.unsqueeze(1), y).amax(1),
    ],
    ids=["sum", "gate", "quotient", "maximum"],
)
def test_broadcasting_one_sample_over_others_is_refused(mix):
    with pytest.raises(InvalidInput, match="mixes the samples"):
        relprop.explain(lambda x: mix(dense(x)), torch.randn(4, 4).double(), 0)


def test_copies_of_the_batch_are_followed():
    x = torch.randn(2, 4).double()
    found = relprop.explain(lambda x: dense(x).expand(4, 2, 4)[1], x, 0, rules=PLAIN)
    assert difference(found.relevance, x * dense.weight[0]) <= 1e-12
    assert torch.allclose(found.ledger.totals()["received"], found.output[:, 0])


def test_a_sum_with_a_negative_factor_can_be_negative():
    """3 - 2 relu(x) once counted as non-negative, and ZPlus left out its negative part."""
    x = torch.randn(8, 4).double()
    head = nn.Linear(4, 2).double().requires_grad_(False)
    shifted = torch.add(F.relu(x), 3, alpha=-2)
    preset = relprop.Preset([(relprop.where(kind="dense"), relprop.ZPlus())])
    short = relprop.explain(lambda x: head(torch.add(F.relu(x), 3, alpha=-2)), x, 0, rules=preset)
    alone = relprop.explain(head, shifted, 0, rules=relprop.ZPlus())
    row = next(r for r in short.ledger if "addmm" in r.operation)
    assert torch.allclose(row.passed, alone.relevance.sum(1), atol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: dense(torch.fft.rfft(x).abs()[:, :1].expand(-1, 4)),
        lambda x: dense(torch.complex(x, 2 * x).abs()),
    ],
    ids=["fourier", "complex"],
)
def test_complex_values_are_refused_by_name(model):
    with pytest.raises(UnsupportedOperation, match="aten"):
        relprop.explain(model, torch.randn(2, 4).double(), 0)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(4, 8), (8, 4), (5, 12)])
def test_antialiased_interpolation_equals_its_derivative(mode, size):
    def model(x):
        return F.interpolate(x, size=size, mode=mode, antialias=True).flatten(1)[:, 5:8]

    x = torch.randn(2, 1, 8, 8).double().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    found = relprop.explain(model, x.detach(), 0, rules=PLAIN)
    assert difference(found.relevance, gradient * x.detach()) <= 1e-10


class NewStyle(torch.autograd.Function):
    """A rectifier whose author wrote its derivative by hand."""

    @staticmethod
    def forward(x):
        return x.clamp(min=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0] > 0)


def test_custom_functions_and_in_place_code_after_them():
    x = torch.randn(3, 4).double()
    found = relprop.explain(
        lambda x: dense(F.relu(NewStyle.apply(x), inplace=True)), x, 0, rules=PLAIN
    )
    assert difference(found.relevance, x.clamp(min=0) * dense.weight[0]) <= 1e-12


def test_one_sample_after_the_other():
    x = torch.randn(3, 4).double()
    found = relprop.explain(lambda x: torch.stack([dense(row) for row in x]), x, 1, rules=PLAIN)
    assert difference(found.relevance, x * dense.weight[1]) <= 1e-12


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_weights_for_all_samples_are_not_cut_into_batches(batch_size):
    """Weights [T, V] beside an output [N, T, V] with N = T."""
    x, weights = torch.randn(4, 4).double(), torch.randn(4, 4).double()

    def model(x):
        return torch.stack([dense(x)] * 4, 1)

    whole = relprop.explain(model, x, weights)
    parts = relprop.explain(model, x, weights, batch_size=batch_size)
    assert difference(parts.relevance, whole.relevance) <= 1e-12
    assert torch.equal(parts.target, weights)


def test_batches_that_run_different_operations_have_one_ledger():
    x = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]).double()
    branching = relprop.explain(
        lambda x: dense(F.relu(x)) if bool(x.sum() > 0) else dense(x), x, 0, batch_size=1
    )
    assert len(branching.ledger) == 2
    assert branching.conservation_gap.max() <= 1e-12


def test_ignored_biases_leave_no_rounding_noise_behind():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    model = model.double().eval()
    model[1].running_mean.normal_()
    x = torch.randn(2, 1, 8, 8).double()
    x[:, :, :4] = 0
    found = relprop.explain(model, x, 0, rules="z", bias="ignore")
    assert found.conservation_gap.max() <= 1e-12


def test_volumes_have_heatmaps_with_their_depth():
    model = nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)).double()
    found = relprop.explain(model, torch.randn(2, 2, 4, 4, 4).double())
    assert found.heatmap().shape == (2, 4, 4, 4)


def padded_softmax(x):
    return F.pad(dense(x).softmax(1), (1, 0))


def softmax_over_another_axis(x):
    return torch.stack([dense(x), 3 * dense(x).flip(1)], 2).softmax(2)[:, :, 0]


@pytest.mark.parametrize("model", [padded_softmax, softmax_over_another_axis])
def test_the_predicted_class_is_the_models(model):
    x = torch.randn(6, 4).double()
    assert torch.equal(relprop.explain(model, x).target, model(x).argmax(1))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: torch.minimum(F.relu(y), torch.tensor(-1.0).double()),
        lambda y: y.clamp(torch.full((4,), -2.0).double(), torch.full((4,), -0.5).double()),
    ],
    ids=["minimum", "bounds that are tensors"],
)
def test_values_bounded_by_tensors_may_be_negative(function):
    head, x = nn.Linear(4, 2).double().requires_grad_(False), torch.randn(3, 4).double()
    preset = relprop.Preset([(relprop.where(kind="dense"), relprop.AlphaBeta(2, -1))])
    found = relprop.explain(lambda x: head(function(x)), x, 0, rules=preset)
    alone = relprop.explain(head, function(x), 0, rules=relprop.AlphaBeta(2, -1))
    row = next(r for r in found.ledger if "addmm" in r.operation)
    assert torch.allclose(row.passed, alone.relevance.sum(1), atol=1e-9)


def test_windows_over_several_samples():
    x = torch.randn(2, 4).double()

    def pooled(x, kernel, stride):
        return F.max_pool1d(x.flatten()[None, None], kernel, stride).reshape(2, -1)

    found = relprop.explain(lambda x: pooled(x, 2, 2), x, 0, rules=PLAIN)
    assert torch.equal(found.relevance.sum(1), found.output[:, 0])
    with pytest.raises(InvalidInput, match="mixes the samples"):
        relprop.explain(lambda x: pooled(x, 3, 1), x, 0)


def test_group_norm_where_samples_do_not_lead():
    x = torch.randn(2, 8).double()
    norm = nn.GroupNorm(4, 16).double()
    found = relprop.explain(lambda x: norm(x.reshape(1, 16, 1)).reshape(2, 8), x, 0)
    assert found.conservation_gap.max() <= 1e-12


class Own(relprop.Rule):
    """A rule of somebody else's."""

    def flows(self, operation):
        return relprop.Flat().flows(operation)


def test_a_rule_of_ones_own_is_used():
    x = torch.randn(3, 4).double()
    own, flat = (relprop.explain(dense, x, 0, rules=rule) for rule in (Own(), relprop.Flat()))
    assert torch.equal(own.relevance, flat.relevance)


class Counter(nn.Module):
    """Counts its calls in a buffer and uses the count, twice."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()).double())

    def forward(self, x):
        self.calls += 1
        first = dense(x) * self.calls
        self.calls += 1
        return first * self.calls


def test_counters_count_as_they_were_when_they_were_used():
    model, x = Counter(), torch.randn(3, 4).double()
    found = relprop.explain(model, x, 0, rules=PLAIN)
    assert difference(found.relevance, 2 * x * dense.weight[0]) <= 1e-12
    assert model.calls == 0


class Shrinking(nn.Module):
    """Writes its own weight while it runs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3).double()

    def forward(self, x):
        with torch.no_grad():
            self.head.weight.copy_(self.head.weight * 0.5)
        return self.head(x)


def test_a_weight_that_the_model_writes_is_put_back():
    model, x = Shrinking(), torch.randn(3, 4).double()
    before = model.head.weight.detach().clone()
    found = relprop.explain(model, x, 0, rules=PLAIN)
    assert torch.equal(model.head.weight, before)
    assert difference(found.relevance, 0.5 * x * before[0]) <= 1e-12


def test_a_blank_sample_has_no_relevance():
    """Epsilon relative to a layer that is zero throughout."""
    x = torch.cat([torch.randn(2, 4), torch.zeros(1, 4)]).double()
    found = relprop.explain(dense, x, 0, rules=relprop.Epsilon(relative=True))
    assert torch.equal(found.relevance[2], torch.zeros(4).double())
    assert found.relevance[:2].abs().min() > 0


def test_numbers_beyond_the_range_are_an_error():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        relprop.explain(model, torch.randn(2, 4) * 1e25, 0, rules=relprop.Epsilon(relative=True))


def test_lazy_modules_are_refused_before_they_run():
    with pytest.raises(InvalidInput, match="no shape yet"):
        relprop.explain(nn.LazyLinear(3).eval(), torch.randn(2, 4), 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: relprop.where(kind=5),
        lambda: relprop.where(module=5),
        lambda: relprop.where(first="yes"),
        lambda: relprop.where(depth=0.5),
        lambda: relprop.Preset(None),
        lambda: relprop.Box("a", "b"),
        lambda: relprop.Box([1, 2], [3, 4, 5]),
        lambda: relprop.Gamma(10**400),
        lambda: relprop.Epsilon(relative="no"),
    ],
)
def test_arguments_of_the_wrong_kind(make):
    with pytest.raises(relprop.errors.InvalidRule):
        make()


@pytest.mark.parametrize("target", [1.0, {"a": [True]}, ["a", 1.0], [[1.0, 2.0], [3.0]]])
def test_targets_of_the_wrong_kind(target):
    with pytest.raises(relprop.errors.InvalidTarget):
        relprop.explain(dense, torch.randn(2, 4).double(), target)
