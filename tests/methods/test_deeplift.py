"""DeepLIFT's rescale rule: complete, Captum's on modules, the same for all that is no module."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput, RelpropWarning, UnknownName, UnsupportedOperation
from tests.laws.networks import Sizes, batches, laws, networks
from tests.methods.twins import WAYS, WithSoftmax, images, twin
from tests.reference.measure import difference, leaves


def lift(model, x, target=None, **options):
    return relprop.explain(model, x, target, method="deeplift", **options)


def total(found):
    """[N]: what all maps sum to."""
    return sum(leaf.flatten(1).sum(1) for leaf in leaves(found.relevance))


def gap(found, change):
    """How far the contributions are from f(x) - f(reference), relative to it."""
    return ((total(found) - change).abs() / change.abs()).max().item()


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not", "ignore:Setting forward, backward")
@pytest.mark.parametrize("reference", [0.0, 0.7])
def test_it_is_captums_on_modules(reference):
    """With a linear layer between any two others: where a max pooling follows a ReLU, Captum 0.9
    takes the plain gradient for one of them.
    """
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3),
        nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(32, 9), nn.Tanh(),
        nn.Linear(9, 9), nn.Softplus(), nn.Linear(9, 5),
    ).double().eval()  # fmt: skip
    x = images()
    theirs = pytest.importorskip("captum.attr").DeepLift(model)
    wanted = theirs.attribute(x.clone(), torch.full_like(x, reference), target=2)
    found = lift(model, x, 2, reference=reference)
    assert difference(found.relevance, wanted.detach()) <= 1e-10


@pytest.mark.parametrize("way", WAYS)
def test_the_way_a_model_is_written_does_not_matter(way):
    x = images()
    wanted = lift(twin(), x, 2, reference=images(1, seed=5)).relevance
    found = lift(twin(way), x, 2, reference=images(1, seed=5)).relevance
    assert difference(found, wanted) <= 1e-12


def test_a_softmax_at_the_end_is_left_out_and_noted():
    found = lift(twin(WithSoftmax), images(), 2)
    assert torch.allclose(found.output, twin()(images()).detach())
    assert any("left out" in note for note in found.notes)


@laws()
@given(networks(), batches(), st.sampled_from(["zero", "one", "each"]))
def test_contributions_sum_to_the_difference(model, x, kind):
    reference = {"zero": 0.0, "one": torch.full((1, 2, 6, 6), 0.3), "each": x.flip(0) * 0.5}[kind]
    found = lift(model, x, 1, reference=reference)
    other = torch.zeros_like(x) + torch.as_tensor(reference)
    change = (model(x) - model(other))[:, 1]
    assert torch.allclose(total(found), change, rtol=1e-8, atol=1e-10)


@laws()
@given(networks(Sizes(bias=False, norms=False, choices=False)), batches())
def test_with_a_zero_reference_and_no_biases_it_is_epsilon_zero(model, x):
    found = lift(model, x, "all").relevance
    wanted = relprop.explain(model, x, "all", rules=relprop.Epsilon(0)).relevance
    assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-10)


def test_epsilon_zero_with_pooling_behind_relus():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(6, 8, 3, bias=False), nn.ReLU(), nn.AdaptiveMaxPool2d(1),
        nn.Flatten(), nn.Linear(8, 4, bias=False),
    ).double().eval()  # fmt: skip
    wanted = relprop.explain(model, images(), 1, rules=relprop.Epsilon(0)).relevance
    assert difference(lift(model, images(), 1).relevance, wanted) <= 1e-10


def test_a_linear_model_gives_weights_times_differences():
    model, x, reference = nn.Linear(6, 3), torch.randn(4, 6), torch.randn(6)
    found = lift(model, x, 2, reference=reference)
    assert torch.allclose(found.relevance, model.weight[2] * (x - reference), atol=1e-6)


def test_a_product_goes_half_to_each_factor():
    x = torch.tensor([[2.0, 3.0]])
    found = lift(lambda x: (x[:, 0] * x[:, 1])[:, None], x)
    assert found.relevance.tolist() == [[3.0, 3.0]]


def test_a_saturated_unit_is_seen():
    """1 - relu(1 - a - b): the gradient is zero where a + b > 1 (Shrikumar et al. 2017, fig. 1)."""
    x = torch.tensor([[1.0, 1.0]])
    found = lift(lambda x: 1 - torch.relu(1 - x.sum(1, keepdim=True)), x)
    assert found.relevance.tolist() == [[0.5, 0.5]]


SMOOTH = {
    "gelu": nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)),
    "tanh and sigmoid": nn.Sequential(
        nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3)
    ),
    "layer norm": nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)),
    "rms norm": nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.ReLU(), nn.Linear(8, 3)),
    "group norm": nn.Sequential(
        nn.Linear(6, 8), nn.Unflatten(1, (4, 2)), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(8, 3)
    ),
    "softmax inside": nn.Sequential(nn.Linear(6, 8), nn.Softmax(-1), nn.Linear(8, 3)),
    "gated": nn.Sequential(nn.Linear(6, 8), nn.GLU(), nn.Linear(4, 3)),
    "silu": nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 3)),
    "local response": nn.Sequential(
        nn.Unflatten(1, (6, 1)), nn.LocalResponseNorm(3, alpha=1.0), nn.Flatten(), nn.Linear(6, 3)
    ),
    "p-norm pooling": nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.LPPool1d(3, 2), nn.Flatten(), nn.Linear(3, 3)
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("reference", [0.0, "other"])
def test_it_is_complete_for_every_nonlinearity(name, reference):
    torch.manual_seed(3)
    model, x = SMOOTH[name].double().eval(), torch.rand(5, 6).double() + 0.5
    other = torch.randn(1, 6).double().abs() if reference == "other" else torch.zeros(1, 6).double()
    found = lift(model, x, 1, reference=other)
    change = (model(x) - model(other))[:, 1].detach()
    assert gap(found, change) <= 1e-4


def test_layer_norm_is_its_formula_written_out():
    """Taken apart by hand into means, a product and a power, which have rules of their own."""
    x, norm = torch.randn(3, 6).double(), nn.LayerNorm(6).double()
    nn.init.normal_(norm.weight)

    def by_hand(x):
        centred = x - x.mean(1, keepdim=True)
        scale = ((centred * centred).mean(1, keepdim=True) + norm.eps) ** -0.5
        return centred * scale * norm.weight + norm.bias

    found = lift(norm, x, 2, reference=0.3 * torch.arange(6.0))
    wanted = lift(by_hand, x, 2, reference=0.3 * torch.arange(6.0))
    assert difference(found.relevance, wanted.relevance) <= 1e-10


@pytest.mark.parametrize(
    "choose",
    [
        lambda a, b: torch.maximum(a, b),
        lambda a, b: torch.minimum(a, b),
        lambda a, b: torch.stack([a, b]).amax(0),
        lambda a, b: torch.stack([a, b]).min(0).values,
        lambda a, b: torch.minimum(a, torch.tensor(0.2)) + torch.maximum(b, torch.tensor(-0.1)),
    ],
)
def test_it_is_complete_for_maxima_and_minima(choose):
    x, reference = torch.randn(6, 8).double(), torch.randn(6, 8).double()

    def model(x):
        return choose(x[:, :4], x[:, 4:])

    for target in range(4):
        found = lift(model, x, target, reference=reference)
        assert torch.allclose(total(found), (model(x) - model(reference))[:, target])
        assert found.relevance.abs().amax() <= 2 * (x - reference).abs().amax()


def test_relevance_flows_through_detach():
    x = torch.randn(2, 4)
    found = lift(lambda x: torch.relu(x.detach() * 2), x, 1)
    assert torch.allclose(total(found), torch.relu(2 * x[:, 1]))


def test_several_inputs_and_references_in_their_structure():
    a, b = torch.randn(3, 4), torch.randn(3, 4)

    def model(a, b):
        return torch.relu(a + 1) * 2 - b

    found = lift(model, (a, b), 1, reference=(torch.ones(4), None))
    first, second = found.relevance
    assert torch.count_nonzero(second) == 0  # None: it stays as it is
    assert torch.allclose(first.sum(1), (model(a, b) - model(torch.ones_like(a), b))[:, 1])
    named = lift(lambda a, b: model(a, b), {"a": a, "b": b}, 1, reference={"b": 0.5})
    assert torch.count_nonzero(named.relevance["a"]) == 0
    assert torch.allclose(named.relevance["b"].sum(1), 0.5 - b[:, 1])


class Tokens(nn.Module):
    """Embeddings, a ReLU, a mean: [N, T] -> 3."""

    def __init__(self):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(10, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        return self.head(torch.relu(self.hidden(self.embedding(ids))).mean(1))


def test_tokens_get_a_number_each():
    model, ids = Tokens().double(), torch.tensor([[1, 2, 3, 0], [4, 2, 0, 0]])
    found = lift(model, ids, 1, reference=torch.zeros(4, dtype=torch.long))
    assert found.relevance.shape == ids.shape
    change = (model(ids) - model(torch.zeros_like(ids)))[:, 1].detach()
    assert gap(found, change) <= 1e-10
    assert torch.count_nonzero(found.relevance[ids == 0]) == 0
    with pytest.raises(InvalidInput, match="a number is no reference for token ids"):
        lift(model, ids, 1)


def test_one_map_for_each_class_and_group():
    x = images()
    each = lift(twin(), x, "all")
    assert each.grouped and each.relevance.shape == (3, 5, 3, 12, 12)
    for k in range(5):
        assert torch.allclose(each.relevance[:, k], lift(twin(), x, k).relevance, atol=1e-12)
    groups = lift(twin(), x, {"low": [0, 1]})
    assert torch.allclose(groups.relevance[:, 0], each.relevance[:, :2].sum(1), atol=1e-12)


def test_a_batch_is_its_samples():
    x = images(5)
    whole = lift(twin(), x, 1, reference=0.2)
    parts = lift(twin(), x, 1, reference=0.2, batch_size=2)
    assert difference(parts.relevance, whole.relevance) <= 1e-12


@pytest.mark.parametrize("shape", [(5, 3, 12, 12), (5, 1, 1, 1), (3, 12, 12), (1, 3, 1, 1)])
@pytest.mark.parametrize("method", ["deeplift", "integrated-gradients"])
def test_every_sample_keeps_its_reference_in_batches(method, shape):
    x = images(5)
    reference = torch.rand(shape, dtype=x.dtype)
    whole = relprop.explain(twin(), x, 1, method=method, reference=reference)
    parts = relprop.explain(twin(), x, 1, method=method, reference=reference, batch_size=2)
    assert difference(parts.relevance, whole.relevance) <= 1e-12


def test_what_differs_between_the_two_runs_is_refused_by_name():
    with pytest.raises(UnsupportedOperation, match="where.* has a mask, index or number that is"):
        lift(lambda x: torch.where(x > 0, x, 0.1 * x), torch.randn(3, 4), 0)
    with pytest.raises(UnsupportedOperation, match="takes another way at the reference"):
        lift(lambda x: x * 2 if x.abs().sum() > 0 else torch.relu(x), torch.ones(1, 4), 0)


def test_what_it_cannot_follow_is_refused_by_name():
    with pytest.raises(UnsupportedOperation, match="DeepLIFT cannot follow .*cumsum.*no handler"):
        lift(lambda x: x.cumsum(1), torch.ones(1, 4), 0)
    with pytest.raises(UnknownName, match="unknown DeepLIFT rule 'linear'"):
        lift(twin(), images(), 0, rule="linear")


@pytest.mark.parametrize(
    "reference, message",
    [
        (torch.ones(7), r"a reference of \(7,\) does not broadcast to the input \(3, 3, 12, 12\)"),
        ("black", "a reference of str does not broadcast"),
    ],
)
def test_references_that_do_not_fit_are_refused(reference, message):
    with pytest.raises(InvalidInput, match=message):
        lift(twin(), images(), 0, reference=reference)
    with pytest.raises(InvalidInput, match="has 1 entries for 2 inputs"):
        lift(lambda a, b: a + b, (torch.ones(1, 2), torch.ones(1, 2)), 0, reference=(0.0,))


def test_contributions_that_are_not_complete_are_told():
    """A norm that is almost singular at the reference: a quotient has no rule of its own."""

    def model(x):
        return x / (x.norm(dim=1, keepdim=True) + 1e-6)

    with pytest.warns(RelpropWarning, match=r"contributions miss f\(x\) - f\(reference\) by up to"):
        lift(model, torch.ones(1, 4), 0, reference=torch.tensor([1e-5, 0, 0, 0]))


def test_single_precision_is_complete_to_rounding():
    x = F.interpolate(images(dtype=torch.float32), 24)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(16, 32, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5),
    ).eval()  # fmt: skip
    found = lift(model, x, 3)
    change = (model(x) - model(torch.zeros_like(x)))[:, 3].detach()
    assert gap(found, change) <= 1e-4
