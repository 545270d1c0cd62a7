"""Deconvolution and guided backpropagation, on networks written in several ways."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput, UnsupportedOperation
from tests.methods.twins import WAYS, Modules, images, twin
from tests.reference.measure import difference

METHODS = {"deconvolution": "Deconvolution", "guided-backprop": "GuidedBackprop"}


def signal(method, model, x, target):
    """The same by module hooks, on a network whose ReLUs are modules used once."""

    def change(module, given, received):
        passed = received[0] if method == "deconvolution" else given[0]
        return (passed.clamp(min=0),)

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    handles = [module.register_full_backward_hook(change) for module in relus]
    try:
        x = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(model(x)[:, target].sum(), x)
    finally:
        for handle in handles:
            handle.remove()
    return found


@pytest.mark.parametrize("method", METHODS)
def test_it_is_what_module_hooks_make_of_modules(method):
    x = images()
    found = relprop.explain(twin(), x, 2, method=method)
    assert difference(found.relevance, signal(method, twin(), x, 2)) <= 1e-12
    assert found.pooling == "l2" and found.ledger is None and found.notes == ()


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("method", METHODS)
def test_it_is_captums_on_modules(method):
    x = images()
    theirs = getattr(pytest.importorskip("captum.attr"), METHODS[method])(twin())
    found = relprop.explain(twin(), x, 2, method=method).relevance
    assert difference(found, theirs.attribute(x.clone(), target=2)) <= 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_the_way_a_model_is_written_does_not_matter(method, way):
    x = images()
    found = relprop.explain(twin(way), x, 2, method=method).relevance
    assert difference(found, signal(method, twin(), x, 2)) <= 1e-12


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_captum_does_not_see_functional_relus():
    """What the test above is worth: module hooks find none of these, and give the gradient."""
    x = images()
    theirs = (
        pytest.importorskip("captum.attr")
        .GuidedBackprop(twin(WAYS[0]))
        .attribute(x.clone(), target=2)
    )
    assert difference(theirs, signal("guided-backprop", twin(), x, 2)) > 0.1


RELU6 = {
    "module": nn.ReLU6(),
    "function": F.relu6,
    "in place": lambda z: F.relu6(z, inplace=True),
    "clamp": lambda z: z.clamp(0, 6),
    "hardtanh": lambda z: F.hardtanh(z, 0.0, 6.0),
}


@pytest.mark.parametrize("relu6", RELU6.values(), ids=RELU6)
@pytest.mark.parametrize("method", METHODS)
def test_relu6_is_a_rectifier_whose_linear_part_ends(method, relu6):
    torch.manual_seed(0)
    first, second = nn.Linear(4, 30).double(), nn.Linear(30, 2).double()
    x = 8 * torch.randn(5, 4).double()
    found = relprop.explain(lambda x: second(relu6(first(x))), x, 1, method=method).relevance
    z = first(x)
    assert (z > 6).any() and (z < 0).any()
    passed = second.weight[1].clamp(min=0).expand_as(z)
    if method == "guided-backprop":
        passed = passed * ((z > 0) & (z < 6))
    assert torch.allclose(found, passed @ first.weight)


def test_max_pooling_goes_back_by_its_switches():
    """Zeiler and Fergus: everything that comes down goes where the largest value was."""
    x = torch.tensor([[[[1.0, 5, -2, 0], [0, 2, -9, -1]]]])

    def model(x):
        return F.relu(F.max_pool2d(x, 2)).flatten(1) @ torch.tensor([[2.0], [3.0]])

    found = relprop.explain(model, x, 0, method="deconvolution").relevance
    assert torch.equal(found, torch.tensor([[[[0.0, 2, 0, 3], [0, 0, 0, 0]]]]))
    guided = relprop.explain(model, x, 0, method="guided-backprop").relevance
    assert torch.equal(guided, torch.tensor([[[[0.0, 2, 0, 0], [0, 0, 0, 0]]]]))


def test_deconvolution_passes_where_the_forward_pass_did_not():
    x = -torch.ones(1, 3)
    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False))
    nn.init.constant_(model[1].weight, 2.0)
    assert relprop.explain(model, x, method="deconvolution").relevance.tolist() == [[2.0] * 3]
    assert not relprop.explain(model, x, method="guided-backprop").relevance.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_relus_is_refused(method):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    with pytest.raises(InvalidInput, match=f"has no ReLU, so there is nothing that {method}"):
        relprop.explain(model, torch.rand(2, 4), method=method)


def test_relus_within_a_recurrent_layer_are_refused():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(4, 5, nonlinearity="relu", batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    with pytest.raises(UnsupportedOperation, match="'rnn' has its ReLUs inside"):
        relprop.explain(Recurrent().eval(), torch.rand(2, 3, 4), method="guided-backprop")


def test_other_activations_are_named_in_a_note():
    model = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.ReLU(), nn.Linear(5, 3), nn.Sigmoid())
    notes = relprop.explain(model, torch.rand(2, 4), method="guided-backprop").notes
    assert "activations that keep their derivative: aten.gelu.default" in notes
    assert len(notes) == 2 and "left out" in notes[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_clamp_elsewhere_is_no_rectifier(method):
    model = nn.Linear(4, 3)
    with pytest.raises(InvalidInput, match="no ReLU"):
        relprop.explain(lambda x: model(x.clamp(-1, 6)), torch.rand(2, 4), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_signal_leaves_the_model_to_be_trained(method):
    """The parameters' own gradients are those of the model as it is."""
    model, x = twin(Modules), images()
    (wanted,) = torch.autograd.grad(model(x).sum(), model.conv1.weight)
    relprop.explain(model, x, 1, method=method)
    (found,) = torch.autograd.grad(model(x).sum(), model.conv1.weight)
    assert torch.equal(found, wanted)
