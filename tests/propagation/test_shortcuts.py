"""Every shortcut of single precision against plain arithmetic, on trained networks.

Under autograd nothing is overwritten, kept or taken from anything but its formula: the slow
reference of the same precision.
"""

import pytest
import torch
from torch import nn

import relprop
from relprop import data, models
from tests.reference.measure import difference

BOUND = 1e-4
PRESETS = [name for name in relprop.presets() if name not in ("z", "thesis-ch4")]


def images(model: nn.Module) -> torch.Tensor:
    """Two real inputs of a shipped network; photographs at a quarter of their pixels."""
    prepare = model.preprocessing
    if prepare.channels == 1:
        return torch.stack([prepare(digit) for digit in data.sample_digits()[0][:2]])
    found = torch.stack([prepare(data.photograph(name)) for name in ("chelsea", "coffee")])
    return found[:, :, ::2, ::2].contiguous()


def plain(model: nn.Module, x: torch.Tensor, target, rules) -> relprop.Explanation:
    """The same without shortcuts."""
    with torch.enable_grad():
        return relprop.explain(model, x, target, rules=rules, differentiable=True)


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["lenet5", "squeezenet", "efficientnet-lite0"])
def test_maps_of_trained_networks_are_those_of_plain_arithmetic(name: str, preset: str) -> None:
    model = models.load(name).eval().requires_grad_(False)
    x = images(model)
    explainer = relprop.Explainer(model, preset)
    first = explainer(x)
    slow = plain(model, x, first.target, preset)
    assert difference(first.relevance, slow.relevance.detach()) <= BOUND
    assert first.conservation_gap.max() <= 1e-5
    later = explainer(x, first.target)
    assert difference(later.relevance, slow.relevance.detach()) <= BOUND
    assert later.conservation_gap.max() <= 1e-5


@pytest.mark.parametrize("seed", range(8))
def test_a_small_side_is_not_taken_as_a_difference(seed: int) -> None:
    """With nine inputs to an output, z- is often far smaller than z+."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 64, 5),
    ).eval()
    x = torch.rand(4, 3, 8, 8)
    fast = relprop.explain(model, x, 1, rules="thesis")
    exact = relprop.explain(model.double(), x.double(), 1, rules="thesis")
    assert difference(fast.relevance.double(), exact.relevance) <= BOUND


def test_inputs_beyond_their_precision_are_not_an_empty_side() -> None:
    model = nn.Linear(2, 1, bias=False).eval()
    model.weight.data = torch.tensor([[1.0, -1.0]])
    found = relprop.explain(model, torch.tensor([[1.0, 5e-7]]), 0, rules=relprop.AlphaBeta(2, -1))
    assert torch.allclose(found.relevance, torch.tensor([[2.0, -1.0]]), atol=1e-5)


class Own(relprop.Epsilon):
    """A rule that inherits from another and gives zeros their share."""

    def flows(self, operation):
        return relprop.Flat().flows(operation)


def test_a_rule_keeps_no_promise_of_its_parent() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    preset = relprop.Preset([(relprop.where(last=True), Own())])
    asked = relprop.Preset([(relprop.where(last=True), relprop.Flat())])
    x = torch.randn(5, 4)
    found, wanted = (relprop.explain(model, x, 0, rules=rules) for rules in (preset, asked))
    assert torch.equal(found.relevance, wanted.relevance)


@pytest.mark.parametrize("limits", [(0.5, 2.0), (-2.0, -0.5), (0.0, 6.0), (-1.0, 1.0)])
def test_a_clamp_off_zero_gives_zeros_their_relevance(limits: tuple[float, float]) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    low, high = limits
    clamped = nn.Sequential(first, nn.ReLU(), nn.Hardtanh(low, high), last).eval()
    x = torch.randn(5, 4)

    def written(x):
        return last(first(x).clamp(min=0).clamp(low, high))

    found, wanted = (relprop.explain(m, x, 0, rules="epsilon") for m in (clamped, written))
    assert difference(found.relevance, wanted.relevance) <= 1e-5


@pytest.mark.parametrize(
    "middle", [nn.LayerNorm(6), nn.GroupNorm(2, 6)], ids=lambda layer: type(layer).__name__
)
@pytest.mark.parametrize("rules", ["epsilon", "z"])
def test_a_normalisation_read_by_a_relu(middle: nn.Module, rules: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), middle, nn.ReLU(), nn.Linear(6, 3)).eval()
    x = torch.randn(5, 4)
    found = relprop.explain(model, x, 0, rules=rules)
    slow = plain(model, x, 0, rules)
    assert difference(found.relevance, slow.relevance.detach()) <= 1e-5


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize("rules", ["alpha1beta0", "deep-taylor", "epsilon"])
def test_where_nothing_arrives_nothing_is_sent(rules: str) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    x = torch.randn(5, 4)
    for model in (
        lambda x: last(-torch.relu(first(x))),
        lambda x: last(1 - torch.relu(first(x))),
        lambda x: last(torch.relu(first(x)) * 0.0),
    ):
        found = relprop.explain(model, x, 0, rules=rules)
        assert found.conservation_gap.max() <= 1e-5


@pytest.mark.parametrize("rules", [relprop.Gamma(0), relprop.Gamma(), "alpha2beta1", "epsilon"])
def test_recorded_values_are_not_written_over(rules) -> None:
    """A factor of one hands its input on as it is."""
    torch.manual_seed(0)
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    recording = relprop.record(
        lambda x: last(torch.relu(torch.relu(first(x)) * 1.0)), torch.randn(5, 4)
    )
    before = [None if value is None else value.clone() for value in recording.values]
    once = recording.explain(0, rules=rules)
    again = recording.explain(0, rules=rules)
    assert torch.equal(once.relevance, again.relevance)
    for value, kept in zip(recording.values, before, strict=True):
        assert kept is None or torch.equal(value, kept)
