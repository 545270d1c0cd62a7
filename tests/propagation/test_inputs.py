"""What can be given: tensors, tuples and dicts of any float type, and what is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput, RelpropError
from tests.reference.measure import difference, gap, predicted
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

PLAIN = relprop.Epsilon(0)


class Two(nn.Module):
    """A linear model of two inputs, by position or by name."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3, bias=False), nn.Linear(2, 3, bias=False)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_several_inputs_keep_their_structure(kind):
    model = Two().double()
    a, c = torch.randn(3, 4).double(), torch.randn(3, 2).double()
    inputs = (a, c) if kind == "tuple" else {"right": c, "left": a}
    explanation = relprop.explain(model, inputs, 1, rules=PLAIN)
    assert type(explanation.relevance) is type(inputs)
    first, second = (0, 1) if kind == "tuple" else ("left", "right")
    assert difference(explanation.relevance[first], a * model.left.weight[1].detach()) <= 1e-12
    assert difference(explanation.relevance[second], c * model.right.weight[1].detach()) <= 1e-12


def test_an_input_that_the_output_ignores_is_an_error():
    model = Call(lambda a, c: a @ torch.ones(4, 3).double())
    with pytest.raises(RelpropError, match="depend"):
        relprop.explain(model, (torch.randn(2, 4).double(), torch.randn(2, 2).double()), 0)


def test_an_output_that_ignores_its_only_input_is_an_error():
    constant = torch.ones(2, 3)
    with pytest.raises(RelpropError, match="depend"):
        relprop.explain(Call(lambda x: constant), torch.randn(2, 4), 0)


class Net(nn.Module):
    """A small network with everything that a dtype or a memory format can upset."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2)
        x = F.relu(self.second(x)) + x
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize("rules", ["epsilon", "alpha2beta1", "epsilon-gamma-flat"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-3), (torch.bfloat16, 0.2), (torch.float16, 0.05)],
    ids=str,
)
def test_float_types_agree_with_float64(dtype, tolerance, rules):
    model, x = Net().eval(), torch.rand(2, 3, 8, 8)
    wanted = relprop.explain(model.double(), x.double(), 1, rules=rules).relevance
    explanation = relprop.explain(model.to(dtype), x.to(dtype), 1, rules=rules)
    assert explanation.relevance.isfinite().all()
    assert explanation.relevance.dtype == torch.float32
    assert difference(explanation.relevance.double(), wanted) <= tolerance
    start = explanation.output[:, 1].float()
    assert gap(explanation, start) <= (1e-4 if dtype == torch.float32 else 2e-2)


def test_a_small_epsilon_survives_half_precision():
    """1e-6 vanishes beside 0.5 in bfloat16, and an output of zero must not become a NaN."""
    model = nn.Linear(3, 2, bias=False).bfloat16()
    x = torch.zeros(1, 3).bfloat16()
    explanation = relprop.explain(model, x, torch.ones(1, 2), rules=relprop.Epsilon())
    assert torch.equal(explanation.relevance, torch.zeros(1, 3))


def test_channels_last_gives_the_same_map():
    model, x = Net().double().eval(), torch.randn(2, 3, 8, 8).double()
    wanted = relprop.explain(model, x, 1).relevance
    last = torch.channels_last
    found = relprop.explain(model.to(memory_format=last), x.to(memory_format=last), 1).relevance
    assert difference(found, wanted) <= 1e-12


def test_inputs_that_are_not_contiguous():
    model, x = Net().double().eval(), torch.randn(2, 3, 8, 8).double()
    twisted = x.transpose(2, 3).contiguous().transpose(2, 3)
    wanted = relprop.explain(model, x, 1).relevance
    assert difference(relprop.explain(model, twisted, 1).relevance, wanted) <= 1e-12


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_not_finite_are_refused(value):
    x = torch.rand(2, 3, 8, 8)
    x[1, 2, 3, 4] = value
    with pytest.raises(InvalidInput, match=r"(?i)nan|finite|infinit"):
        relprop.explain(Net().eval(), x, 1)


def test_what_produces_a_nan_is_named():
    model = nn.Sequential()
    model.add_module("body", nn.Linear(3, 3))
    model.add_module("broken", nn.Linear(3, 3))
    with torch.no_grad():
        model.broken.weight[0, 0] = float("nan")
    with pytest.raises(RelpropError, match=r"broken"):
        relprop.explain(model, torch.randn(2, 3), 1)


@pytest.mark.parametrize(
    "inputs",
    [torch.rand(2, 4, 8, 8), torch.rand(2, 3), "a word", None, torch.zeros(0, 3, 8, 8), [1, 2]],
    ids=["channels", "axes", "word", "none", "empty", "numbers"],
)
def test_wrong_inputs_are_refused(inputs):
    with pytest.raises(InvalidInput):
        relprop.explain(Net().eval(), inputs, 1)


def test_constants_beside_tensors_are_passed_on_or_refused():
    """A dict may hold options of forward; they are no inputs to explain."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3, bias=False)

        def forward(self, x, scale=1.0, mask=None):
            return self.linear(x) * scale

    model, x = Scaled().double(), torch.randn(2, 4).double()
    wanted = 3 * x * model.linear.weight[1].detach()
    try:
        explanation = relprop.explain(model, {"x": x, "scale": 3.0, "mask": None}, 1, rules=PLAIN)
    except InvalidInput as error:
        assert "scale" in str(error)
    else:
        assert difference(explanation.relevance["x"], wanted) <= 1e-12
        assert explanation.relevance["scale"] is explanation.relevance["mask"] is None


def test_the_error_of_the_model_itself_can_be_read():
    """A wrong shape fails inside the model: what the model said is part of the message."""
    with pytest.raises(InvalidInput, match="channels"):
        relprop.explain(Net().eval(), torch.rand(2, 4, 8, 8), 1)


def test_integer_images_are_refused_with_advice():
    """Only token ids that an embedding looks up may be integers."""
    with pytest.raises(RelpropError, match="float"):
        relprop.explain(Net().eval(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 1)


def test_a_numpy_array_or_a_list_of_one_is_no_silent_success():
    model = Two().double()
    with pytest.raises(InvalidInput):
        relprop.explain(model, object(), 1)


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_any_number_of_samples(samples):
    x = torch.randn(samples, 3, 8, 8).double()
    explanation = relprop.explain(Net().double().eval(), x)
    assert explanation.relevance.shape == x.shape
    assert gap(explanation, predicted(explanation)) <= 1e-10


def test_batch_size_changes_nothing():
    model, x = Net().double().eval(), torch.randn(5, 3, 8, 8).double()
    whole = relprop.explain(model, x, layers=["second"])
    parts = relprop.explain(model, x, layers=["second"], batch_size=2)
    assert difference(parts.relevance, whole.relevance) <= 1e-10
    assert difference(parts.layers["second"], whole.layers["second"]) <= 1e-10
    assert torch.equal(torch.as_tensor(parts.target), torch.as_tensor(whole.target))
    for column, amount in whole.ledger.totals().items():
        assert torch.allclose(parts.ledger.totals()[column], amount, atol=1e-10), column


@pytest.mark.parametrize("module", [nn.Dropout(0.5), nn.BatchNorm1d(4), nn.RReLU()], ids=str)
def test_training_mode_is_refused(module):
    model = nn.Sequential(nn.Linear(4, 4), module, nn.Linear(4, 2))
    with pytest.raises(InvalidInput, match=r"eval\(\)"):
        relprop.explain(model.train(), torch.randn(3, 4), 1)
    relprop.explain(model.eval(), torch.randn(3, 4), 1)


@pytest.mark.parametrize(
    "draw",
    [
        lambda z: F.dropout(z, 0.5),
        lambda z: F.dropout1d(z[:, None], 0.5)[:, 0],
        lambda z: F.alpha_dropout(z, 0.5, training=True),
        lambda z: z * torch.bernoulli(torch.full_like(z, 0.5)),
        lambda z: z + torch.randn_like(z),
    ],
    ids=["dropout", "dropout1d", "alpha dropout", "bernoulli", "noise"],
)
def test_what_is_random_in_evaluation_mode_is_refused(draw):
    """F.dropout is active unless told otherwise: the map would be another at each call."""
    layer = nn.Linear(4, 4)
    state = torch.get_rng_state()
    with pytest.raises(RelpropError, match=r"(?i)dropout|random|training"):
        relprop.explain(Call(lambda v: layer(draw(layer(v)))).eval(), torch.ones(3, 4), 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_mode_without_consequence_is_accepted():
    """Nothing here behaves differently while training."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.0), nn.Linear(4, 2)).train()
    relprop.explain(model, torch.randn(3, 4), 1)
    assert model.training


class Answer:
    """An output object as Transformers' models give them."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def test_the_logits_of_an_output_object_are_explained():
    layer = nn.Linear(4, 3, bias=False).double()
    x = torch.randn(2, 4).double()
    model = Call(lambda v: Answer(logits=layer(v), hidden_states=None))
    explanation = relprop.explain(model, x, 1, rules=PLAIN)
    assert difference(explanation.relevance, x * layer.weight[1].detach()) <= 1e-12


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: Answer(prediction_scores=z, pooled=z),
        lambda z: {"prediction_scores": z, "pooled": z},
    ],
    ids=["object", "dict"],
)
def test_other_output_objects_are_refused_naming_their_fields(wrap):
    layer = nn.Linear(4, 3)
    with pytest.raises(RelpropError, match=r"prediction_scores(.|\n)*pooled"):
        relprop.explain(Call(lambda v: wrap(layer(v))), torch.randn(2, 4), 1)
