"""Relevance of modules inside the network, by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import UnknownName
from tests.reference.measure import difference

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

PLAIN = relprop.Epsilon(0)


@pytest.fixture
def model():
    body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU())
    return nn.Sequential(body, nn.Linear(5, 3)).double().eval()


@pytest.fixture
def x():
    return torch.randn(3, 4).double()


def test_relevance_of_a_layer_is_that_of_its_output(model, x):
    names = ["0.1", "0.2", "0", "1"]
    explanation = relprop.explain(model, x, 1, rules=PLAIN, layers=names)
    assert set(explanation.layers) == set(names)
    weights = model[1].weight[1].detach()
    hidden = model[0](x).detach()
    assert difference(explanation.layers["0"], hidden * weights) <= 1e-12
    assert torch.equal(explanation.layers["0"], explanation.layers["0.2"])  # ReLU passes
    start = torch.zeros(3, 3).double()
    start[:, 1] = model(x)[:, 1].detach()
    assert difference(explanation.layers["1"], start) <= 1e-12
    # What a layer of the plain rule passes down is what it received less the bias's share.
    z = model[0][0](x).relu().detach()
    at_z = (explanation.layers["0.2"] / model[0][2](z).detach()) @ model[0][2].weight.detach() * z
    assert difference(explanation.layers["0.1"], at_z) <= 1e-10


def test_asking_for_layers_changes_nothing_else(model, x):
    without = relprop.explain(model, x, 1)
    asked = relprop.explain(model, x, 1, layers=["0.0", "0.1", "0.2", "0.3", "0", "1"])
    assert torch.equal(without.relevance, asked.relevance)
    assert without.layers == {}


class Twice(nn.Module):
    """One layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.again, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(self.again(F.relu(self.again(x)))))


def test_a_module_that_runs_twice_gives_a_list(x):
    model = Twice().double()
    found = relprop.explain(model, x, 0, rules=PLAIN, layers=["again", "head"]).layers
    assert isinstance(found["again"], list)
    assert len(found["again"]) == 2
    assert isinstance(found["head"], torch.Tensor)
    late = F.relu(model.again(F.relu(model.again(x)))) * model.head.weight[0]
    assert difference(found["again"][1], late.detach()) <= 1e-12


class Residual(nn.Module):
    """A branch whose result is written to, in place or not, once its module is done."""

    def __init__(self, in_place):
        super().__init__()
        self.branch, self.head, self.in_place = nn.Linear(4, 4), nn.Linear(4, 2), in_place

    def forward(self, x):
        z = self.branch(x)
        if self.in_place:
            z += x
            z.mul_(2.0)
            z[:, 0] = x[:, 1]
            return self.head(z.relu_())
        z = 2.0 * (z + x)
        return self.head(F.relu(torch.cat([x[:, 1:2], z[:, 1:]], 1)))


def test_what_is_written_into_the_output_of_a_layer_afterwards_is_not_its_relevance(x):
    model = Residual(in_place=False).double()
    wanted = relprop.explain(model, x, 1, rules=PLAIN, layers=["branch"])
    model.in_place = True
    found = relprop.explain(model, x, 1, rules=PLAIN, layers=["branch"])
    assert difference(found.relevance, wanted.relevance) <= 1e-12
    assert difference(found.layers["branch"], wanted.layers["branch"]) <= 1e-12


class Part(nn.Module):
    """A module inside returns a view of its input, which is used beside it too."""

    def __init__(self):
        super().__init__()
        self.take, self.head = nn.Module(), nn.Linear(2, 2)
        self.take.forward = lambda x: x[:, :2]

    def forward(self, x):
        return self.head(self.take(x)) + x[:, :2]


def test_relevance_of_a_view_is_what_came_through_it(x):
    model = Part().double()
    explanation = relprop.explain(model, x, 1, rules=PLAIN, layers=["take", "head"])
    share = explanation.layers["head"][:, 1:] / model.head(x[:, :2])[:, 1:].detach()
    wanted = x[:, :2] * model.head.weight[1].detach() * share
    assert difference(explanation.layers["take"], wanted) <= 1e-12


def test_layers_for_all_outputs(model, x):
    explanation = relprop.explain(model, x, "all", rules=PLAIN, layers=["0"])
    wanted = model[0](x).detach()[:, None] * model[1].weight.detach()
    assert difference(explanation.layers["0"], wanted) <= 1e-12


def test_an_unknown_layer_is_refused_with_the_names_there_are(model, x):
    with pytest.raises(UnknownName, match=r"0\.2"):
        relprop.explain(model, x, 1, layers=["features.3"])


def test_a_module_that_does_not_run_is_said_to_be_unused(x):
    model = nn.Sequential(nn.Linear(4, 3)).double()
    model[0].spare = nn.Linear(2, 2)
    with pytest.raises(relprop.errors.RelpropError, match=r"0\.spare"):
        relprop.explain(model, x, 1, layers=["0.spare"])


def test_layers_of_a_convolutional_network_have_the_shape_of_their_output():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 2),
    )  # fmt: skip
    model = model.double().eval()
    x = torch.randn(2, 1, 8, 8).double()
    names = ["0", "1", "2", "3", "4", "5"]
    layers = relprop.explain(model, x, 0, layers=names).layers
    for name, module in zip(names, model, strict=True):
        x = module(x)
        assert layers[name].shape == x.shape, name
    # A batch norm that is folded into its convolution has the relevance of their common output.
    assert torch.equal(layers["1"], layers["2"])
