"""A recording: one forward pass, many targets and rules; modules and in-place code as they come."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference.measure import difference, gap, predicted
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


class Counting(nn.Module):
    """Counts how often it runs."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.runs = nn.Conv2d(1, 3, 3), nn.Linear(48, 3), 0

    def forward(self, x):
        self.runs += 1
        return self.second(F.relu(self.first(x)).flatten(1))


@pytest.fixture
def model():
    return Counting().double().eval()


@pytest.fixture
def x():
    return torch.randn(2, 1, 6, 6).double()


def test_one_recording_serves_many_targets_and_rules(model, x):
    recording = relprop.record(model, x)
    runs = model.runs
    for target in (0, 2, [1, 0], "all"):
        for rules in ("epsilon", "alpha2beta1", relprop.Gamma(), None):
            found = recording.explain(target=target, rules=rules, layers=["first"])
            assert model.runs == runs
            again = relprop.explain(model, x, target, rules=rules, layers=["first"])
            runs = model.runs
            assert torch.equal(found.relevance, again.relevance)
            assert torch.equal(found.layers["first"], again.layers["first"])


def test_a_recording_shows_what_it_holds(model, x):
    recording = relprop.record(model, x)
    assert torch.equal(recording.output, model(x).detach())
    names = " ".join(str(operation) for operation in recording.operations)
    assert "convolution" in names
    assert "relu" in names


def test_a_recording_outlives_changes_of_the_weights(model, x):
    """Relevance belongs to the pass that was recorded, or the change is noticed."""
    recording = relprop.record(model, x)
    before = recording.explain(target=1).relevance
    x.zero_()
    assert torch.equal(recording.explain(target=1).relevance, before)


def test_an_explainer_says_the_same_at_every_call(model, x):
    """Rules that hold for the first call only are a bug that others have."""
    for rules in ("thesis", "alpha2beta1", relprop.Gamma()):
        explainer = relprop.Explainer(model, rules)
        wanted = relprop.explain(model, x, 1, rules=rules).relevance
        for _ in range(3):
            assert difference(explainer(x, 1).relevance, wanted) <= 1e-12
        assert difference(explainer(x[:1], 1).relevance, wanted[:1]) <= 1e-10
        assert difference(explainer(x, 1).relevance, wanted) <= 1e-12


@pytest.mark.parametrize("change", ["add_", "data", "replace", "load"])
def test_an_explainer_notices_changed_weights(model, x, change):
    explainer = relprop.Explainer(model, relprop.AlphaBeta(2, -1, redistribute=True))
    explainer(x, 1)
    with torch.no_grad():
        if change == "add_":
            model.first.weight.add_(0.3)
        elif change == "data":
            model.first.weight.data.add_(0.3)
        elif change == "replace":
            model.first.weight = nn.Parameter(torch.randn_like(model.first.weight))
        else:
            state = {name: value + 0.1 for name, value in model.state_dict().items()}
            model.load_state_dict(state)
    wanted = relprop.explain(model, x, 1, rules=relprop.AlphaBeta(2, -1, redistribute=True))
    assert difference(explainer(x, 1).relevance, wanted.relevance) <= 1e-12


def test_an_explainer_follows_a_model_whose_graph_changes(x):
    """The plan that was kept no longer fits: another branch, another number of layers."""

    class Switch(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep, self.a, self.c = False, nn.Linear(36, 36), nn.Linear(36, 3)

        def forward(self, x):
            x = x.flatten(1)
            return self.c(F.relu(self.a(x)) if self.deep else x)

    model = Switch().double()
    explainer = relprop.Explainer(model, "epsilon")
    for deep in (False, True, False):
        model.deep = deep
        wanted = relprop.explain(model, x, 1, rules="epsilon").relevance
        assert difference(explainer(x, 1).relevance, wanted) <= 1e-12


def test_weights_made_on_the_fly_are_not_kept(x):
    """Weight norm computes its weight at every pass."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(36, 4))
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(4, 3)).double().eval()
    explainer = relprop.Explainer(model, relprop.AlphaBeta(2, -1, redistribute=True))
    first = explainer(x, 1).relevance
    with torch.no_grad():
        layer.parametrizations.weight.original1.mul_(-1)
    wanted = relprop.explain(model, x, 1, rules=relprop.AlphaBeta(2, -1, redistribute=True))
    assert difference(explainer(x, 1).relevance, wanted.relevance) <= 1e-12
    assert difference(first, wanted.relevance) > 1e-3
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), model[3]).double()
    with torch.no_grad():
        plain[1].weight.copy_(layer.weight)
        plain[1].bias.copy_(layer.bias)
    wanted = relprop.explain(plain, x, 1, rules="epsilon").relevance
    assert difference(relprop.explain(model, x, 1, rules="epsilon").relevance, wanted) <= 1e-9


IN_PLACE = {
    "relu_": lambda z: z.relu_(),
    "functional": lambda z: F.relu(z, inplace=True),
    "add_": lambda z: z.add_(z.mean(1, keepdim=True)),
    "iadd": lambda z: z.__iadd__(1.5),
    "mul_": lambda z: z.mul_(0.5),
    "div_": lambda z: z.div_(3.0),
    "sub_": lambda z: z.sub_(0.2),
    "sigmoid gate": lambda z: z.mul_(torch.sigmoid(z)),
    "clamp_": lambda z: z.clamp_(min=0),
    "silu": lambda z: F.silu(z, inplace=True),
    "hardtanh": lambda z: F.hardtanh_(z.clone(), 0, 6),
    "masked_fill_": lambda z: z.masked_fill_(torch.tensor([True, False] * 2), 0.0),
    "setitem": lambda z: z.index_put_((torch.tensor([0]),), torch.ones(4).double()),
    "out=": lambda z: torch.add(z, z, out=torch.empty_like(z)),
    "transpose_": lambda z: z.unsqueeze_(1).squeeze_(1),
    "copy_": lambda z: torch.zeros_like(z).copy_(z),
    "addcmul_": lambda z: z.addcmul_(z, z),
    "chunks": lambda z: torch.cat([part.relu_() for part in z.chunk(2, 1)], 1),
}
PURE = {
    "relu_": F.relu,
    "functional": F.relu,
    "add_": lambda z: z + z.mean(1, keepdim=True),
    "iadd": lambda z: z + 1.5,
    "mul_": lambda z: z * 0.5,
    "div_": lambda z: z / 3.0,
    "sub_": lambda z: z - 0.2,
    "sigmoid gate": lambda z: z * torch.sigmoid(z),
    "clamp_": lambda z: z.clamp(min=0),
    "silu": F.silu,
    "hardtanh": lambda z: F.hardtanh(z, 0, 6),
    "masked_fill_": lambda z: z.masked_fill(torch.tensor([True, False] * 2), 0.0),
    "setitem": lambda z: torch.cat([torch.ones(1, 4).double(), z[1:]]),
    "out=": lambda z: z + z,
    "transpose_": lambda z: z.clone(),
    "copy_": lambda z: z.clone(),
    "addcmul_": lambda z: z + z * z,
    "chunks": F.relu,
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_code_that_works_in_place_is_as_good_as_pure_code(name):
    before, after = nn.Linear(4, 4).double(), nn.Linear(4, 3).double()
    x = torch.randn(3, 4).double()
    maps = [
        relprop.explain(Call(lambda v, f=f: after(f(before(v)))), x, 1, rules="epsilon").relevance
        for f in (IN_PLACE[name], PURE[name])
    ]
    # A product and a sum in one operation have one stabiliser instead of two.
    assert difference(maps[0][1:], maps[1][1:]) <= (1e-3 if name == "addcmul_" else 1e-9)


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_callers_grad_mode_does_not_matter(model, x, context):
    wanted = relprop.explain(model, x, 1).relevance
    with context():
        found = relprop.explain(model, x.clone(), 1)
    assert difference(found.relevance.clone(), wanted) <= 1e-12
    assert not found.relevance.requires_grad


def test_inputs_and_weights_that_require_gradients(model, x):
    wanted = relprop.explain(model, x, 1).relevance
    found = relprop.explain(model, x.clone().requires_grad_(), 1).relevance
    assert difference(found, wanted) <= 1e-12
    assert not found.requires_grad


def test_the_output_is_what_the_model_says(model, x):
    explanation = relprop.explain(model, x)
    assert torch.equal(explanation.output, model(x).detach())
    assert gap(explanation, predicted(explanation)) <= 1e-12


@pytest.mark.parametrize("compile", [torch.jit.script, None], ids=["script", "trace"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripted_models_are_explained_or_refused_with_a_reason(x, compile):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    model = compile(plain) if compile else torch.jit.trace(plain, x)
    wanted = relprop.explain(plain, x, 1, rules="epsilon").relevance
    try:
        found = relprop.explain(model, x, 1, rules="epsilon").relevance
    except relprop.errors.InvalidInput as error:
        assert "script" in str(error).lower() or "jit" in str(error).lower()
    else:
        assert difference(found, wanted) <= 1e-12


def test_functional_models(x):
    weight = torch.randn(3, 36).double()
    explanation = relprop.explain(
        Call(lambda v: F.linear(v.flatten(1), weight)), x, 1, rules=relprop.Epsilon(0)
    )
    assert difference(explanation.relevance.flatten(1), x.flatten(1) * weight[1]) <= 1e-12


def test_a_plain_function_is_a_model_or_refused_with_a_reason(x):
    weight = torch.randn(3, 36).double()

    def function(v):
        return F.linear(v.flatten(1), weight)

    try:
        explanation = relprop.explain(function, x, 1, rules=relprop.Epsilon(0))
    except relprop.errors.InvalidInput as error:
        assert "Module" in str(error)
    else:
        assert difference(explanation.relevance.flatten(1), x.flatten(1) * weight[1]) <= 1e-12


class Squaring(torch.autograd.Function):
    """A custom function, which functionalisation refuses."""

    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_custom_autograd_function_is_recorded_by_what_it_does():
    x = torch.randn(2, 4).double()
    weight = torch.randn(4, 3).double()
    maps = [
        relprop.explain(Call(lambda v, f=f: f(v) @ weight), x, 1, rules="epsilon").relevance
        for f in (Squaring.apply, lambda v: v * v)
    ]
    assert difference(maps[0], maps[1]) <= 1e-12
