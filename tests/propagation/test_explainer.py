"""An explainer that is kept: reused plans and weights, and when they must not be."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.propagation import Family, Share, register_operation
from tests.reference.measure import difference

PRESETS = ["epsilon", "alpha2beta1", "epsilon-gamma-flat", "thesis"]


class Block(nn.Module):
    """Convolution, batch norm, in-place ReLU and in-place sum, pooling, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.dense = nn.Linear(8 * 16, 5)

    def forward(self, x):
        h = F.relu(self.norm(self.first(x)), inplace=True)
        h = F.relu(h + self.second(h), inplace=True)
        return self.dense(F.max_pool2d(h, 2).flatten(1))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    model = Block().eval().requires_grad_(False)
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2)
    return model


def images(samples: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(samples, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def assert_same(found, wanted) -> None:
    assert difference(found.relevance, wanted.relevance) <= 2e-5
    assert torch.allclose(found.output, wanted.output, atol=1e-5)
    assert found.conservation_gap.max() <= 1e-5


def twice(explainer, x, target=1):
    """The second of two calls, which follows the route of the first."""
    explainer(x, target)
    return explainer(x, target)


def route_of(explainer):
    return next(iter(explainer._routes._known.values()))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_second_call_follows_the_first(model, preset) -> None:
    explainer, x = relprop.Explainer(model, preset), images()
    assert_same(twice(explainer, x), relprop.explain(model, x, 1, rules=preset))
    route = route_of(explainer)
    assert route.channels_last and route.departures == 0
    other = images(seed=2)
    assert_same(explainer(other, 2), relprop.explain(model, other, 2, rules=preset))
    assert route_of(explainer).recording is route.recording


CHANGES = {
    "in place": lambda m: m.second.weight.mul_(-1.5),
    "through .data": lambda m: m.second.weight.data.mul_(1.5),
    "one element through .data": lambda m: m.dense.weight.data[1, 7].add_(0.5),
    "signs of a row through .data": lambda m: m.second.weight.data[0].neg_(),
    "a small element beside big ones": lambda m: m.dense.weight.data[1, 3].mul_(3),
    "other memory": lambda m: setattr(m.second.weight, "data", m.second.weight.data * 2),
    "another parameter": lambda m: setattr(m.second, "weight", nn.Parameter(-m.second.weight)),
    "another module": lambda m: setattr(m, "second", nn.Conv2d(8, 8, 3, padding=1, bias=False)),
    "running mean": lambda m: m.norm.running_mean.add_(1),
    "running variance through .data": lambda m: m.norm.running_var.data.mul_(3),
    "a bias": lambda m: m.dense.bias.add_(1),
    "an attribute": lambda m: setattr(m.second, "padding_mode", "reflect"),
    "rolled": lambda m: m.second.weight.data.copy_(m.second.weight.data.roll(1, 3)),
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_model_are_seen(model, preset, change) -> None:
    with torch.no_grad():
        model.dense.weight[1, ::2] *= 1e6
        model.dense.weight[1, 3] = 1e-3
        explainer, x = relprop.Explainer(model, preset), images()
        twice(explainer, x)
        CHANGES[change](model)
        model.requires_grad_(False).eval()
        for samples in (3, 2):  # the known shape, and a new one
            x = images(samples)
            assert_same(explainer(x, 1), relprop.explain(model, x, 1, rules=preset))


def test_weights_whose_memory_changed_hands(model) -> None:
    model.first = nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False)
    model.third = nn.Conv2d(8, 8, 3, padding=1, bias=False).requires_grad_(False)
    chained = nn.Sequential(model.first, nn.ReLU(), model.second, nn.ReLU(), model.third)
    model = nn.Sequential(chained, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)).eval()
    explainer = relprop.Explainer(model, "alpha2beta1")
    twice(explainer, images())
    one, other = chained[2].weight, chained[4].weight
    one.data, other.data = other.data, one.data
    for samples in (3, 2):
        x = images(samples)
        found = explainer(x, 1)
        assert_same(found, relprop.explain(model, x, 1, rules="alpha2beta1"))


def test_a_weight_that_is_a_constant_too() -> None:
    torch.manual_seed(0)
    weight, last = torch.randn(4, 4), nn.Linear(4, 3)

    def model(x):
        return last(torch.relu(x @ weight - weight[0]))

    explainer, x = relprop.Explainer(model, "epsilon"), torch.randn(4, 4)
    twice(explainer, x)
    weight.mul_(2)
    assert_same(explainer(x, 1), relprop.explain(model, x, 1, rules="epsilon"))


class Branching(Block):
    def forward(self, x):
        h = torch.relu(self.first(x))
        h = self.second(h) if x.mean() > 0 else h
        return self.dense(F.max_pool2d(h, 2).flatten(1))


class Masking(Block):
    def forward(self, x):
        h = self.first(x)
        h = torch.where(h > 0.1, h, 0.0)
        return self.dense(F.max_pool2d(h, 2).flatten(1))


class Stubborn(Block):
    """Goes on, whatever happens."""

    bad = False

    def forward(self, x):
        h = torch.relu(self.first(x))
        try:
            h = torch.tanh(h) if self.bad else torch.relu(h)
        except BaseException:  # noqa: BLE001 - that is the point
            h = torch.relu(h)
        return self.dense(F.max_pool2d(h, 2).flatten(1))


@pytest.mark.parametrize("kind", [Branching, Masking, Stubborn])
def test_a_model_that_does_something_else_is_recorded_again(kind) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    explainer = relprop.Explainer(model, "epsilon")
    for seed in range(6):
        x = images(seed=seed) + (-1) ** seed
        model.bad = seed % 2 == 1
        assert_same(explainer(x, 1), relprop.explain(model, x, 1, rules="epsilon"))


def zeroed(h):
    h.flatten(1)[:, :50] = 0
    return h


def rectified(h):
    h.reshape(len(h), -1).relu_()
    return h


def contiguous(h):
    h.contiguous().relu_()
    return h


LAYOUTS = {
    "writes through flatten": zeroed,
    "in place after reshape": rectified,
    "in place after contiguous": contiguous,
    "asks for its layout": lambda h: torch.tanh(h) if h.is_contiguous() else h,
    "reads a stride": lambda h: h * float(h.stride(1)) / 64,
    "views": lambda h: h.view(len(h), -1).view(h.shape),
    "reads memory": lambda h: h.as_strided(h.shape, h.stride()[:2] + (1, 8)),
}


@pytest.mark.parametrize("way", LAYOUTS)
def test_channels_last_changes_nothing(way) -> None:
    class Odd(Block):
        def forward(self, x):
            h = LAYOUTS[way](self.first(x))
            return self.dense(F.max_pool2d(h, 2).flatten(1))

    torch.manual_seed(0)
    model, x = Odd().eval(), images()
    explainer = relprop.Explainer(model, "epsilon")
    for _ in range(3):
        found = explainer(x, 1)
        assert torch.allclose(found.output, model(x), atol=1e-5)
        assert_same(found, relprop.explain(model, x, 1, rules="epsilon"))


def test_what_hooks_captured_stays_and_earlier_maps_too(model) -> None:
    kept = []
    model.second.register_forward_hook(lambda module, args, output: kept.append(output))
    explainer = relprop.Explainer(model, "alpha2beta1")
    first = explainer(images(), 1)
    before = first.relevance.clone()
    second = explainer(images(), 1)
    captured = kept[-1].clone()
    explainer(images(seed=3), 1)
    assert torch.equal(first.relevance, before)
    assert torch.allclose(captured, kept[-2]) and second.conservation_gap.max() <= 1e-5
    model(images())
    assert torch.allclose(captured, kept[-1], atol=1e-5)


def test_four_threads_on_one_explainer(model) -> None:
    explainer = relprop.Explainer(model, "alpha2beta1")
    batches = [images(1 + seed % 3, seed) for seed in range(12)]
    wanted = [relprop.explain(model, x, 1, rules="alpha2beta1") for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(lambda x: explainer(x, 1), batches), wanted, strict=True):
            assert_same(found, right)


def test_an_error_in_the_model_is_named_on_a_route_too(model) -> None:
    explainer, x = relprop.Explainer(model, "epsilon"), images()
    twice(explainer, x)
    model.second.forward = lambda h: {}["boom"]
    with pytest.raises(relprop.errors.InvalidInput, match="boom"):
        explainer(x, 1)
    del model.second.forward
    assert_same(explainer(x, 1), relprop.explain(model, x, 1, rules="epsilon"))


def test_messages_that_share_memory_are_taken_apart() -> None:
    class Halves(Family):
        """Half to each of two inputs, the same tensor twice."""

        def __init__(self, values):
            object.__setattr__(self, "values", values)
            object.__setattr__(self, "kind", "merge")

        @property
        def sources(self):
            return self.values

        def prepare(self, rule, context):
            return lambda relevance: Share([relevance[0] / 2] * 2)

    register_operation(torch.ops.aten.atan2.default)(lambda op: Halves(list(op.inputs())))
    torch.manual_seed(0)
    one, other, last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def model(x):
        return last(torch.atan2(one(x), other(x)))

    found = relprop.explain(model, torch.randn(3, 4), 0, rules="epsilon")
    assert found.conservation_gap.max() <= 1e-5


def test_many_classes_walk_in_chunks(model, monkeypatch) -> None:
    x = images()
    together = relprop.explain(model, x, "all", rules="alpha2beta1", layers=["second"])
    monkeypatch.setattr("relprop.propagation.walk.TOGETHER", 1)
    apart = relprop.explain(model, x, "all", rules="alpha2beta1", layers=["second"])
    assert torch.allclose(apart.relevance, together.relevance, atol=1e-6)
    assert torch.allclose(apart.layers["second"], together.layers["second"], atol=1e-6)
    for one, other in zip(apart.ledger, together.ledger, strict=True):
        assert torch.allclose(one.passed, other.passed, atol=1e-5)
    assert apart.ledger.start.shape == (3, 5) and apart.conservation_gap.max() <= 1e-5


def test_memory_splits_the_batch(model) -> None:
    x = images(7)
    whole = relprop.explain(model, x, 1, rules="epsilon")
    split = relprop.explain(model, x, 1, rules="epsilon", max_memory=2**19)
    assert_same(split, whole)
    assert split.relevance.shape == x.shape and len(split.ledger.start) == 7
    with pytest.warns(relprop.errors.RelpropWarning, match="one sample takes about"):
        assert_same(relprop.explain(model, x, 1, rules="epsilon", max_memory=10), whole)
    for wrong in (0, -1, 1.5, True, "1 GB"):
        with pytest.raises(relprop.errors.InvalidInput, match="max_memory must be a number"):
            relprop.explain(model, x, 1, max_memory=wrong)


class Merging(nn.Module):
    """A convolution whose weight is made anew from another parameter in every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.delta = nn.Parameter(torch.zeros(8, 3, 3, 3))
        self.base = self.conv.weight.detach().clone()

    def forward(self, x):
        self.conv.weight.data = self.base + self.delta
        return self.dense(F.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_weight_that_the_forward_replaces(preset) -> None:
    torch.manual_seed(0)
    model = Merging().eval().requires_grad_(False)
    explainer = relprop.Explainer(model, preset)
    for step in range(4):
        model.delta.data.normal_(0, 0.1 * step)
        assert_same(explainer(images(), 1), relprop.explain(model, images(), 1, rules=preset))


@pytest.mark.parametrize("change", ["mul_", "data.mul_"])
@pytest.mark.parametrize("layer", ["second", "dense"])
def test_a_weight_that_a_hook_changes_from_some_call_on(model, layer, change) -> None:
    explainer = relprop.Explainer(model, "alpha2beta1")
    twice(explainer, images())

    def double(module, args):
        with torch.no_grad():
            (module.weight.data if "data" in change else module.weight).mul_(2)

    handle = getattr(model, layer).register_forward_pre_hook(double)
    for _ in range(3):
        wanted = relprop.explain(model, images(), 1, rules="alpha2beta1")
        assert_same(explainer(images(), 1), wanted)
    handle.remove()
    assert_same(explainer(images(), 1), relprop.explain(model, images(), 1, rules="alpha2beta1"))


CHANGED_KIND = {
    "double": lambda m: m.double(),
    "fewer outputs": lambda m: prune(m),
}


def prune(model):
    """Two of the first layer's channels less."""
    keep = slice(0, 6)
    model.first.weight.data = model.first.weight.data[keep]
    model.first.bias.data = model.first.bias.data[keep]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(model.norm, name).data = getattr(model.norm, name).data[keep]
    model.second.weight.data = model.second.weight.data[keep][:, keep]
    model.dense.weight.data = model.dense.weight.data[:, : 6 * 16]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", CHANGED_KIND)
def test_weights_of_another_kind(model, kind, preset) -> None:
    explainer = relprop.Explainer(model, preset)
    twice(explainer, images())
    CHANGED_KIND[kind](model)
    x = images().to(model.dense.weight.dtype)
    for _ in range(3):
        assert_same(explainer(x, 1), relprop.explain(model, x, 1, rules=preset))
