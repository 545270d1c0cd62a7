"""DeepLIFT's reveal-cancel rule, beside a slow version over neurons and the paper's example."""

import pytest
import torch
from hypothesis import given
from torch import nn

import relprop
from relprop.errors import UnsupportedOperation
from tests.laws.networks import Sizes, batches, laws, networks
from tests.methods.twins import WAYS, images, twin
from tests.reference.measure import difference


def reveal(model, x, target=None, **options):
    return relprop.explain(model, x, target, method="deeplift", rule="reveal-cancel", **options)


def minimum(x):
    """min(a, b) = a - relu(a - b)."""
    a, b = x[:, :1], x[:, 1:]
    return a - torch.relu(a - b)


@pytest.mark.parametrize("x", [[3.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
def test_a_minimum_is_due_to_both(x):
    """Rescale and gradients give all to one of them (Shrikumar et al. 2017, fig. 3)."""
    x = torch.tensor([x])
    assert torch.allclose(reveal(minimum, x).relevance, torch.full((1, 2), x.min().item() / 2))
    rescaled = relprop.explain(minimum, x, method="deeplift").relevance
    assert torch.allclose(rescaled.sum(), x.min())


def slow(first, b1, second, x, reference):
    """Two dense layers with a ReLU between, neuron by neuron as the paper writes it."""
    change = [one - other for one, other in zip(x, reference, strict=True)]
    hidden = []
    for j in range(len(first)):
        terms = [first[j][i] * change[i] for i in range(len(x))]
        up, down = sum(t for t in terms if t > 0), sum(t for t in terms if t < 0)
        start = sum(first[j][i] * reference[i] for i in range(len(x))) + b1[j]

        def relu(value):
            return max(value, 0.0)

        out_up = (relu(start + up) - relu(start) + relu(start + down + up) - relu(start + down)) / 2
        out_down = (
            relu(start + down) - relu(start) + relu(start + up + down) - relu(start + up)
        ) / 2
        hidden.append((up, down, out_up, out_down))
    found = []
    for i in range(len(x)):
        contribution = 0.0
        for j, (up, down, out_up, out_down) in enumerate(hidden):
            term = first[j][i] * change[i]
            if term > 0:
                multiplier = out_up / up
            elif term < 0:
                multiplier = out_down / down
            else:
                continue
            contribution += term * multiplier * second[j]
        found.append(contribution)
    return found


def test_it_is_the_slow_version():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    x, reference = torch.randn(4, 5).double(), torch.randn(4, 5).double()
    x[0, 2] = reference[0, 2]  # no difference
    found = reveal(model, x, 1, reference=reference).relevance
    numbers = [t.tolist() for t in (model[0].weight, model[0].bias, model[2].weight[1])]
    for n in range(4):
        wanted = slow(*numbers, x[n].tolist(), reference[n].tolist())
        assert torch.allclose(found[n], torch.tensor(wanted).double(), atol=1e-12)


@laws()
@given(networks(), batches())
def test_contributions_sum_to_the_difference(model, x):
    found = reveal(model, x, 1, reference=x.flip(0) * 0.3 + 0.1).relevance
    change = (model(x) - model(x.flip(0) * 0.3 + 0.1))[:, 1]
    assert torch.allclose(found.flatten(1).sum(1), change, rtol=1e-8, atol=1e-10)


@laws(10)
@given(networks(Sizes(activations=False, choices=False)), batches())
def test_where_all_is_linear_the_rules_agree(model, x):
    rescaled = relprop.explain(model, x, 1, method="deeplift").relevance
    assert torch.allclose(reveal(model, x, 1).relevance, rescaled, atol=1e-10)


def test_where_nothing_cancels_the_rules_agree():
    """Positive weights and differences: every neuron is only raised."""
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    with torch.no_grad():
        model[0].weight.abs_(), model[2].weight.abs_(), model[0].bias.sub_(2)
    x = torch.rand(4, 5).double() * 3
    rescaled = relprop.explain(model, x, 1, method="deeplift").relevance
    assert difference(reveal(model, x, 1).relevance, rescaled) <= 1e-12


def test_batch_norm_belongs_to_its_layer():
    """Also where its scale is negative: the parts change places."""
    layer, norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    rest = [nn.ReLU(), nn.Flatten(), nn.Linear(6 * 100, 4)]
    model = nn.Sequential(layer, norm, *rest).double().eval()
    folded = nn.Conv2d(3, 6, 3).double()
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        folded.weight.copy_(layer.weight * scale[:, None, None, None])
        folded.bias.copy_((layer.bias - norm.running_mean) * scale + norm.bias)
    wanted = reveal(nn.Sequential(folded, *rest).eval(), images(), 2, reference=0.1).relevance
    assert difference(reveal(model, images(), 2, reference=0.1).relevance, wanted) <= 1e-10


def test_max_pooling_before_a_relu_is_max_pooling_behind_it():
    """Where the winners are the same at both ends."""
    layer, head = nn.Conv2d(3, 6, 3), nn.Sequential(nn.Flatten(), nn.Linear(6 * 25, 4))
    before = nn.Sequential(layer, nn.MaxPool2d(2), nn.ReLU(), head).double().eval()
    behind = nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(2), head).eval()
    x = images()
    reference = x * 0.999  # so near that they are
    wanted = reveal(behind, x, 1, reference=reference).relevance
    assert difference(reveal(before, x, 1, reference=reference).relevance, wanted) <= 1e-10


@pytest.mark.parametrize("way", WAYS)
def test_the_way_a_model_is_written_does_not_matter(way):
    wanted = reveal(twin(), images(), 2).relevance
    assert difference(reveal(twin(way), images(), 2).relevance, wanted) <= 1e-12


def test_padding_and_concatenation_with_constants_are_moves():
    layer = nn.Linear(8, 3).double()

    def model(x):
        padded = nn.functional.pad(x, (1, 1), value=2.0)
        return layer(torch.cat([torch.relu(padded), torch.ones(len(x), 2).double()], 1))

    x = torch.randn(3, 4).double()
    found = reveal(model, x, 1, reference=0.3).relevance
    change = (model(x) - model(torch.full_like(x, 0.3)))[:, 1]
    assert torch.allclose(found.sum(1), change)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1), nn.Linear(4, 2)),
        lambda x: x[:, :2] * x[:, 2:],
    ],
)
def test_other_structures_are_refused_by_name(model):
    with pytest.raises(UnsupportedOperation, match="reveal-cancel is defined for .*not"):
        reveal(model, torch.randn(2, 4), 0)
