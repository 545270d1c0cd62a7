"""Laws that hold for every network: they are tested on random ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import relprop
from tests.laws.networks import HOMOGENEOUS, LINEAR, batches, laws, networks
from tests.reference.measure import difference, gap

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

PRESETS = (
    "z", "epsilon", "alpha1beta0", "alpha2beta1", "thesis", "thesis-alpha1", "thesis-ch4",
    "epsilon-gamma-flat",
)  # fmt: skip
RULES = (
    relprop.Epsilon(0.1), relprop.Epsilon(0.01, relative=True), relprop.AlphaBeta(2, -1),
    relprop.AlphaBeta(1.5, -0.5, redistribute=True), relprop.ZPlus(), relprop.Gamma(0.25),
    relprop.Flat(), relprop.Magnitude(), relprop.Epsilon(0.1, bias="distribute"),
    relprop.Epsilon(0.1, bias="ignore"),
)  # fmt: skip
ANY = st.sampled_from(PRESETS + RULES)
# Rules whose quotients are bounded, so that two orders of adding numbers stay close.
STEADY = st.sampled_from(
    ("thesis", "alpha1beta0", relprop.Epsilon(0.1), relprop.Gamma(0.25), relprop.Flat())
)
TARGETS = st.integers(0, 2)


@laws(100)
@given(networks(), batches(), ANY, TARGETS)
def test_relevance_is_conserved_with_what_the_ledger_shows(model, x, rules, target):
    explanation = relprop.explain(model, x, target, rules=rules)
    assert gap(explanation, explanation.output[:, target]) <= 1e-10
    largest = max(row.received.abs().max().item() for row in explanation.ledger.rows)
    for row in explanation.ledger.rows:
        assert row.remainder.abs().max() <= 1e-9 * largest, row.module


@laws(50)
@given(networks(LINEAR), batches(), TARGETS, st.sampled_from([relprop.Epsilon(0), "z"]))
def test_relevance_of_a_linear_model_is_its_terms(model, x, target, rules):
    moved = x.clone().requires_grad_()
    model(moved)[:, target].sum().backward()
    explanation = relprop.explain(model, x, target, rules=rules)
    assert difference(explanation.relevance, x * moved.grad) <= 1e-8
    assert torch.allclose(explanation.relevance.flatten(1).sum(1), model(x)[:, target], rtol=1e-9)


@laws(30)
@given(networks(HOMOGENEOUS), batches(), TARGETS)
def test_the_plain_rule_on_a_network_without_biases_is_input_times_gradient(model, x, target):
    """Thesis 2.10 where every unit is piecewise linear through the origin."""
    moved = x.clone().requires_grad_()
    model(moved * 1.0)[:, target].sum().backward()
    explanation = relprop.explain(model, x, target, rules=relprop.Epsilon(0))
    wanted = x * moved.grad
    if wanted.abs().max() > 0:
        assert difference(explanation.relevance, wanted) <= 1e-7


@laws(40)
@given(networks(), batches(4), STEADY)
def test_a_batch_equals_its_samples_one_by_one(model, x, rules):
    targets = [0, 2, 1, 2]
    whole = relprop.explain(model, x, targets, rules=rules)
    for n, target in enumerate(targets):
        single = relprop.explain(model, x[n : n + 1], target, rules=rules)
        assert difference(whole.relevance[n : n + 1], single.relevance) <= 1e-8
        for column in ("bias", "stabiliser", "lost"):
            amounts = whole.ledger.totals()[column][n], single.ledger.totals()[column][0]
            assert torch.isclose(*amounts, rtol=1e-7, atol=1e-9), column


@laws(30)
@given(networks(), batches(), ANY, TARGETS, st.permutations([0, 1]))
def test_permuting_samples_and_channels_permutes_relevance(model, x, rules, target, channels):
    permuted = nn.Sequential(*model)
    first = model[0]
    twin = nn.Conv2d(2, 4, 3, padding=1, bias=first.bias is not None).double()
    twin.weight = nn.Parameter(first.weight[:, channels].clone(), requires_grad=False)
    if first.bias is not None:
        twin.bias = nn.Parameter(first.bias.clone(), requires_grad=False)
    permuted[0] = twin
    rules = relprop.Epsilon(0.1) if rules in ("z", "epsilon") else rules
    wanted = relprop.explain(model, x, target, rules=rules).relevance
    found = relprop.explain(permuted.eval(), x[:, channels].flip(0), target, rules=rules).relevance
    assert difference(found, wanted[:, channels].flip(0)) <= 1e-7


@laws(30)
@given(st.integers(0, 10_000), st.permutations(range(7)), STEADY, TARGETS)
def test_permuting_features_permutes_relevance(seed, order, rules, target):
    torch.manual_seed(seed)
    first, rest = nn.Linear(7, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 3))
    twin = nn.Linear(7, 6)
    with torch.no_grad():
        twin.weight.copy_(first.weight[:, order])
        twin.bias.copy_(first.bias)
    x = torch.randn(3, 7).double()
    wanted = relprop.explain(nn.Sequential(first, rest).double(), x, target, rules=rules)
    found = relprop.explain(nn.Sequential(twin, rest).double(), x[:, order], target, rules=rules)
    assert difference(found.relevance, wanted.relevance[:, order]) <= 1e-9


@laws(40)
@given(networks(), batches(), ANY)
def test_maps_of_all_outputs_add_up_to_the_joint_map(model, x, rules):
    """Figure 2.8: a rule is linear in the relevance that it shares."""
    each = relprop.explain(model, x, "all", rules=rules)
    joint = relprop.explain(model, x, torch.ones(3).double(), rules=rules)
    scale = each.relevance.abs().amax()
    assert (each.relevance.sum(1) - joint.relevance).abs().max() <= 1e-9 * scale
    for k in range(3):
        single = relprop.explain(model, x, k, rules=rules)
        assert (each.relevance[:, k] - single.relevance).abs().max() <= 1e-9 * scale


@laws(30)
@given(networks(), batches(), ANY, st.floats(-10, 10).filter(lambda c: abs(c) > 0.01))
def test_relevance_scales_with_what_it_starts_at(model, x, rules, factor):
    weights = torch.tensor([1.0, -0.5, 2.0]).double()
    one = relprop.explain(model, x, weights, rules=rules).relevance
    scaled = relprop.explain(model, x, factor * weights, rules=rules).relevance
    assert difference(scaled, factor * one) <= 1e-9


@laws(30)
@given(
    networks(HOMOGENEOUS),
    batches(),
    st.sampled_from(
        ("alpha2beta1", "alpha1beta0", relprop.Gamma(0.25), relprop.Flat(),
         relprop.Epsilon(0.1, relative=True))
    ),
    st.floats(0.1, 10),
)  # fmt: skip
def test_relevance_scales_with_the_input_where_the_output_does(model, x, rules, factor):
    """Without biases and absolute stabilisers a rule knows no scale of its own."""
    one = relprop.explain(model, x, 1, rules=rules).relevance
    scaled = relprop.explain(model, factor * x, 1, rules=rules).relevance
    if one.abs().max() > 0:
        assert difference(scaled, factor * one) <= 1e-7


@laws(30)
@given(networks(), batches(), st.sampled_from(["epsilon", "thesis", relprop.Flat()]))
def test_relevance_between_two_layers_is_conserved_too(model, x, rules):
    """What a layer in the middle holds is what lies below it and what was absorbed there."""
    explanation = relprop.explain(model, x, 1, rules=rules, layers=["0"])
    rows = explanation.ledger.rows
    below = [row for row in rows if row.module == "0"]
    absorbed = sum(row.bias + row.stabiliser + row.lost for row in below)
    held = explanation.layers["0"].flatten(1).sum(1)
    arrived = explanation.relevance.flatten(1).sum(1)
    scale = explanation.layers["0"].abs().flatten(1).sum(1).clamp(min=1e-12)
    assert ((held - absorbed - arrived).abs() / scale).max() <= 1e-9
