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
