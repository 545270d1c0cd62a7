"""Presets: which rule is used where, and how a user says so."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidRule, RelpropError, UnknownName
from tests.reference import rules as slow
from tests.reference.flatten import flatten
from tests.reference.measure import difference, gap, predicted

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

NAMES = [
    "z", "epsilon", "alpha1beta0", "alpha2beta1", "thesis", "thesis-alpha1", "thesis-ch4",
    "epsilon-gamma-flat", "graded-gamma", "montavon2019", "epsilon-gamma-box", "deep-taylor",
]  # fmt: skip
BOXED = ("montavon2019", "epsilon-gamma-box")


def network():
    """Two convolutions and two dense layers."""
    return (
        nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3),
        )
        .double()
        .eval()
        .requires_grad_(False)
    )  # fmt: skip


def walk(model, x, target, choose):
    """The whole network by the slow rules; ``choose(layer index)`` gives rule and options."""
    values = [x]
    for layer in model:
        values.append(layer(values[-1]))
    R = torch.zeros_like(values[-1])
    R[:, target] = values[-1][:, target]
    for index in reversed(range(len(model))):
        layer, below = model[index], values[index]
        if isinstance(layer, nn.ReLU):
            continue
        if isinstance(layer, nn.Flatten):
            R = R.reshape(below.shape)
            continue
        if isinstance(layer, nn.MaxPool2d):
            from tests.reference import operations

            windows = [operations.windows(size, 2, 2) for size in below.shape[2:]]
            R = operations.pool(below, R, windows, operations.winners)
            continue
        rule, options = choose(index)
        W, b = flatten(layer, [tuple(below.shape[1:])])
        R = torch.stack(
            [
                slow.share(rule, v.reshape(-1), W, b, r.reshape(-1), **options)[0]
                for v, r in zip(below, R, strict=True)
            ]
        ).reshape(below.shape)
    return R


EPSILON_100 = (slow.epsilon, {"epsilon": 0.01})
ALPHA2, ALPHA1, FLAT = (slow.alpha_beta, {}), (slow.z_plus, {}), (slow.flat, {})
RELATIVE = (slow.epsilon, {"epsilon": 1e-6, "relative": True})
WHOLE = {
    "z": dict.fromkeys((0, 2, 6, 8), (slow.epsilon, {"epsilon": 0.0})),
    "epsilon": dict.fromkeys((0, 2, 6, 8), (slow.epsilon, {})),
    "alpha1beta0": dict.fromkeys((0, 2, 6, 8), ALPHA1),
    "alpha2beta1": dict.fromkeys((0, 2, 6, 8), ALPHA2),
    "thesis": {0: FLAT, 2: ALPHA2, 6: EPSILON_100, 8: EPSILON_100},
    "thesis-alpha1": {0: FLAT, 2: ALPHA1, 6: EPSILON_100, 8: EPSILON_100},
    "thesis-ch4": dict.fromkeys((0, 2, 6, 8), ALPHA2),
    "deep-taylor": {0: (slow.w_square, {}), 2: ALPHA1, 6: ALPHA1, 8: ALPHA1},
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_preset_is_its_rules_one_layer_after_another(name):
    model, x = network(), torch.randn(2, 1, 8, 8).double()
    wanted = walk(model, x, 1, lambda index: WHOLE[name][index])
    explanation = relprop.explain(model, x, 1, rules=name)
    assert difference(explanation.relevance, wanted) <= 1e-9
    assert explanation.preset == name
    assert gap(explanation, explanation.output[:, 1]) <= 1e-10


def test_the_residual_default_uses_gamma_on_convolutions_and_flat_first():
    model, x = network(), torch.randn(2, 1, 8, 8).double()
    # The epsilon of the dense layers is relative and small: it shows only in the last digits.
    chosen = {0: FLAT, 2: (slow.gamma, {}), 6: RELATIVE, 8: RELATIVE}
    wanted = walk(model, x, 1, chosen.__getitem__)
    explanation = relprop.explain(model, x, 1, rules="epsilon-gamma-flat")
    assert difference(explanation.relevance, wanted) <= 1e-4


class Residual(nn.Module):
    def __init__(self, activation=F.relu):
        super().__init__()
        self.stem, self.body = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3, padding=1)
        self.head, self.activation = nn.Linear(3, 2), activation

    def forward(self, x):
        x = self.activation(self.stem(x))
        x = self.activation(self.body(x)) + x
        return self.head(x.mean((2, 3)))


class Concatenating(Residual):
    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.cat([F.relu(self.body(x)), x], 1)
        return self.head(x.mean((2, 3))[:, :3])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (network(), "thesis"),
        (Concatenating().double(), "thesis"),
        (Residual().double(), "graded-gamma"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(72, 2)).double(),
         "graded-gamma"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(72, 2)).double(),
         "graded-gamma"),
    ],
    ids=["sequential", "concatenating", "residual", "SiLU", "GELU"],
)  # fmt: skip
def test_the_default_is_picked_by_the_network_and_named(model, name):
    explanation = relprop.explain(model.eval(), torch.rand(2, 1, 8, 8).double(), 1)
    assert explanation.preset == name
    named = relprop.explain(model.eval(), torch.rand(2, 1, 8, 8).double(), 1, rules=name)
    assert named.preset == name


@pytest.mark.parametrize("name", [n for n in NAMES if n not in BOXED])
def test_every_preset_conserves_on_a_residual_network(name):
    model, x = Residual().double().eval(), torch.rand(2, 1, 8, 8).double()
    explanation = relprop.explain(model, x, rules=name)
    assert gap(explanation, predicted(explanation)) <= 1e-10


@pytest.mark.parametrize("name", BOXED)
def test_a_box_without_known_bounds_is_an_error(name):
    with pytest.raises(InvalidRule, match=r"(?i)bound|box|low"):
        relprop.explain(network(), torch.rand(2, 1, 8, 8).double(), 1, rules=name)


class Preprocessing:
    """Black and white as the network sees them."""

    low, high = torch.tensor([-2.0]), torch.tensor([3.0])


@pytest.mark.parametrize("name", BOXED)
def test_the_bounds_of_a_box_come_from_the_preprocessing_of_the_model(name):
    model, x = network(), torch.rand(2, 1, 8, 8).double()
    model.preprocessing = Preprocessing()
    box = (slow.box, {"low": -2.0, "high": 3.0})
    if name == "epsilon-gamma-box":
        chosen = {0: box, 2: (slow.gamma, {}), 6: (slow.epsilon, {}), 8: (slow.epsilon, {})}
    else:  # top, middle, below, input
        middle = (slow.epsilon, {"epsilon": 0.25, "relative": True})
        chosen = {0: box, 2: (slow.gamma, {}), 6: middle, 8: (slow.epsilon, {"epsilon": 0.0})}
    explanation = relprop.explain(model, x, 1, rules=name)
    assert difference(explanation.relevance, walk(model, x, 1, chosen.__getitem__)) <= 1e-9


def test_predicates_and_the_first_match_wins():
    model, x = network(), torch.randn(2, 1, 8, 8).double()
    mine = relprop.Preset(
        [
            (relprop.where(module="2"), relprop.Gamma(0.5)),
            (relprop.where(kind="convolution", first=True), relprop.Flat()),
            (relprop.where(kind="convolution"), relprop.AlphaBeta(3, -2)),
            (relprop.where(kind="dense", last=True), relprop.Epsilon(0.5)),
            (relprop.where(kind="dense"), relprop.ZPlus()),
        ],
        name="mine",
    )
    chosen = {
        0: FLAT, 2: (slow.gamma, {"gamma": 0.5}), 6: ALPHA1, 8: (slow.epsilon, {"epsilon": 0.5})
    }  # fmt: skip
    explanation = relprop.explain(model, x, 1, rules=mine)
    assert difference(explanation.relevance, walk(model, x, 1, chosen.__getitem__)) <= 1e-9
    assert explanation.preset == "mine"


def test_module_patterns():
    model, x = network(), torch.randn(2, 1, 8, 8).double()
    mine = relprop.Preset([(relprop.where(module="[02]"), relprop.Flat())], name="mine")
    chosen = {0: FLAT, 2: FLAT, 6: (slow.epsilon, {}), 8: (slow.epsilon, {})}
    explanation = relprop.explain(model, x, 1, rules=mine)
    assert difference(explanation.relevance, walk(model, x, 1, chosen.__getitem__)) <= 1e-9


def test_depth():
    """0 is the input's end of the network, 1 the output's."""
    model, x = network(), torch.randn(2, 1, 8, 8).double()
    mine = relprop.Preset(
        [
            (relprop.where(depth=(0.0, 0.2)), relprop.Flat()),
            (relprop.where(depth=(0.9, 1.0)), relprop.Epsilon(0.5)),
        ],
        name="mine",
    )
    chosen = {
        0: FLAT, 2: (slow.epsilon, {}), 6: (slow.epsilon, {}), 8: (slow.epsilon, {"epsilon": 0.5})
    }  # fmt: skip
    explanation = relprop.explain(model, x, 1, rules=mine)
    assert difference(explanation.relevance, walk(model, x, 1, chosen.__getitem__)) <= 1e-9


def test_a_rule_for_merges_and_pooling():
    """Where a preset speaks of them it is followed; where it is silent they are Epsilon."""
    a, c = torch.tensor([[3.0]]).double(), torch.tensor([[-1.0]]).double()

    class Sum(nn.Module):
        def forward(self, a, c):
            return a + c

    one = torch.ones(1, 1).double()
    silent = relprop.explain(Sum(), (a, c), one, rules=relprop.Preset([], name="silent"))
    assert torch.allclose(silent.relevance[0], 3 * one, rtol=1e-5)
    assert torch.allclose(silent.relevance[1], -one, rtol=1e-5)
    preset = relprop.Preset([(relprop.where(kind="merge"), relprop.ZPlus())], name="merge")
    spoken = relprop.explain(Sum(), (a, c), one, rules=preset)
    assert torch.allclose(spoken.relevance[0], 2 * one)
    assert torch.allclose(spoken.relevance[1], 0 * one)


def test_box_bounds_for_each_channel():
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    low, high = (0 - mean) / std, (1 - mean) / std
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    model = model.double().eval().requires_grad_(False)
    x = ((torch.rand(2, 3, 6, 6) - mean[:, None, None]) / std[:, None, None]).double()
    mine = relprop.Preset([(relprop.where(first=True), relprop.Box(low, high))], name="box")
    expand = [v[:, None, None].expand(3, 6, 6).reshape(-1).double() for v in (low, high)]
    box = (slow.box, {"low": expand[0], "high": expand[1]})
    chosen = {0: box, 3: (slow.epsilon, {})}
    explanation = relprop.explain(model, x, 1, rules=mine)
    assert difference(explanation.relevance, walk(model, x, 1, chosen.__getitem__)) <= 1e-9


@pytest.mark.parametrize("rule", [relprop.WSquare(), relprop.Box(-1.0, 1.0)], ids=str)
def test_rules_of_the_input_are_refused_as_the_single_rule(rule):
    with pytest.raises(InvalidRule, match=r"first"):
        relprop.explain(network(), torch.rand(2, 1, 8, 8).double(), 1, rules=rule)


def test_passing_needs_the_same_shape():
    with pytest.raises(InvalidRule, match=r"(?i)pass|shape"):
        relprop.explain(network(), torch.rand(2, 1, 8, 8).double(), 1, rules=relprop.Pass())


def test_passing_through_layers_that_keep_their_shape():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).double()
    x = torch.randn(2, 4).double()
    explanation = relprop.explain(model, x, 1, rules=relprop.Pass())
    wanted = torch.zeros(2, 4).double()
    wanted[:, 1] = model(x)[:, 1].detach()
    assert difference(explanation.relevance, wanted) <= 1e-12


@pytest.mark.parametrize(
    "make",
    [
        lambda: relprop.AlphaBeta(2, -2),
        lambda: relprop.AlphaBeta(0.5, 0.5),
        lambda: relprop.Epsilon(-1.0),
        lambda: relprop.Epsilon(float("nan")),
        lambda: relprop.Epsilon(1e-6, bias="spread"),
        lambda: relprop.Gamma(-0.25),
        lambda: relprop.Box(1.0, -1.0),
    ],
    ids=["sum", "alpha", "negative", "nan", "bias", "gamma", "box"],
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(InvalidRule):
        make()


def test_the_ways_to_treat_a_bias_are_listed():
    with pytest.raises(InvalidRule, match=r"absorb.*distribute.*ignore"):
        relprop.Epsilon(bias="spread")


def test_an_unknown_preset_lists_what_there_is():
    with pytest.raises(UnknownName, match=r"alpha2beta1.*thesis") as caught:
        relprop.explain(network(), torch.rand(2, 1, 8, 8).double(), 1, rules="thesys")
    assert set(NAMES) <= set(caught.value.known)


@pytest.mark.parametrize("rules", [3.5, ["epsilon"], relprop.Epsilon], ids=str)
def test_what_is_no_rule_is_refused(rules):
    with pytest.raises(RelpropError):
        relprop.explain(network(), torch.rand(2, 1, 8, 8).double(), 1, rules=rules)


@pytest.mark.parametrize(
    "predicate", [{"kind": "convolutions"}, {"depth": (0.5, 0.2)}, {"depth": (-1, 2)}], ids=str
)
def test_predicates_that_can_never_match_are_refused(predicate):
    with pytest.raises(RelpropError):
        relprop.where(**predicate)


def test_an_unknown_kind_lists_the_kinds():
    with pytest.raises(RelpropError, match=r"convolution.*dense"):
        relprop.where(kind="linear")


def flat_zone(model, x, depth):
    """Flat up to layer ``depth``, pooling evenly there, and the thesis above."""
    above = {0: FLAT, 2: ALPHA2, 6: EPSILON_100, 8: EPSILON_100}
    return walk(model, x, 1, lambda index: FLAT if index <= depth else above[index])


def test_flat_until():
    model, x = network(), torch.randn(2, 1, 8, 8).double()
    explanation = relprop.explain(model, x, 1, rules="thesis", flat_until="2")
    assert difference(explanation.relevance, flat_zone(model, x, 2)) <= 1e-9


def test_max_pooling_in_the_flat_zone_shares_evenly_over_its_real_window():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(2, 3, 2),
        nn.ReLU(), nn.Flatten(), nn.Linear(12, 2),
    )  # fmt: skip
    model = model.double().eval().requires_grad_(False)
    x = torch.randn(2, 1, 8, 8).double()
    explanation = relprop.explain(
        model, x, 1, rules="thesis", flat_until="2", layers=["0", "1", "2"]
    )
    even = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
    W, b = flatten(even, [(2, 6, 6)])
    above = explanation.layers["2"].flatten(1)
    wanted = torch.stack([slow.share(slow.flat, R, W, b, r)[0] for R, r in zip(above, above)])  # noqa: B905
    assert difference(explanation.layers["1"].flatten(1), wanted) <= 1e-12
    assert torch.equal(explanation.layers["0"], explanation.layers["1"])


def test_local_response_norm_passes_in_the_flat_zone():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.LocalResponseNorm(3, alpha=0.5), nn.Conv2d(4, 3, 2),
        nn.ReLU(), nn.Flatten(), nn.Linear(75, 2),
    )  # fmt: skip
    model, x = model.double().eval(), torch.randn(2, 1, 8, 8).double()
    explanation = relprop.explain(model, x, 1, flat_until="3", layers=["0", "2"])
    assert torch.equal(explanation.layers["0"], explanation.layers["2"])


def test_flat_until_an_unknown_layer():
    with pytest.raises(UnknownName, match="2"):
        relprop.explain(network(), torch.rand(2, 1, 8, 8).double(), 1, flat_until="conv2/3x3")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("thesis", "Epsilon"),
        ("thesis-alpha1", "Epsilon"),
        ("epsilon-gamma-flat", "Epsilon"),
        ("graded-gamma", "Gamma"),
    ],
)
def test_a_dense_first_layer_is_not_flat(name, rule):
    """Flat would give every input of a dense layer the same: nothing would be left to see."""
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    rows = relprop.Explainer(model, rules=name).coverage(torch.randn(2, 5)).rows
    assert {row.rule.split("(")[0] for row in rows if row.family == "dense"} == {rule}
    relevance = relprop.explain(model, torch.randn(2, 5), 0, rules=name).relevance
    assert (relevance.std(1) > 0.1 * relevance.abs().mean(1)).all()
