"""Gradient, sensitivity, gradient x input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput, UnknownName, UnsupportedOperation
from tests.laws.networks import HOMOGENEOUS, batches, laws, networks
from tests.methods.twins import WAYS, autograd, images, twin
from tests.reference.measure import difference

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_is_autograds_whichever_way_the_model_is_written(way):
    x = images()
    found = relprop.explain(twin(way), x, [0, 3, 2], method="gradient")
    assert difference(found.relevance, autograd(twin(), x, [0, 3, 2])) <= 1e-12
    assert torch.allclose(found.output, twin()(x))
    assert found.method == "gradient" and found.ledger is None and found.pooling == "sum"


@laws(30)
@given(networks(), batches(), st.integers(0, 2))
def test_the_gradient_is_autograds(model, x, target):
    found = relprop.explain(model, x, target, method="gradient")
    wanted = autograd(lambda x: model(x * 1.0), x, target)
    assert torch.allclose(found.relevance, wanted, rtol=1e-9, atol=1e-12)


@laws(25)
@given(networks(HOMOGENEOUS), batches(), st.integers(0, 2))
def test_gradient_times_input_is_the_plain_rule_without_biases(model, x, target):
    """Thesis 2.61."""
    found = relprop.explain(model, x, target, method="gradient-x-input").relevance
    plain = relprop.explain(model, x, target, rules=relprop.Epsilon(0)).relevance
    assert torch.allclose(found, plain, rtol=1e-6, atol=1e-9 * plain.abs().max().item())


def test_gradient_times_input_is_captums():
    attr, model, x = pytest.importorskip("captum.attr"), twin(), images()
    found = relprop.explain(model, x, 2, method="gradient-x-input").relevance
    assert difference(found, attr.InputXGradient(model).attribute(x.clone(), target=2)) <= 1e-12


def test_sensitivity_is_the_norm_over_channels():
    model, x = twin(), images()
    gradient = autograd(model, x, 1)
    found = relprop.explain(model, x, 1, method="sensitivity")
    largest = relprop.explain(model, x, 1, method="sensitivity", norm="linf")
    assert difference(found.relevance, gradient) <= 1e-12
    assert torch.equal(found.relevance, largest.relevance)
    for explanation, norm in ((found, gradient.norm(2, 1)), (largest, gradient.abs().amax(1))):
        wanted = norm / norm.amax((1, 2), keepdim=True)
        assert torch.allclose(explanation.heatmap(), wanted)
    assert (
        pytest.importorskip("captum.attr")
        .Saliency(model)
        .attribute(x.clone(), target=1)
        .equal(gradient.abs())
    )


def test_another_norm_is_refused_by_name():
    with pytest.raises(UnknownName, match="unknown norm 'l1'; there are: l2, linf"):
        relprop.explain(twin(), images(), method="sensitivity", norm="l1")


@pytest.mark.parametrize(
    "ending",
    [
        lambda z: z.softmax(1),
        lambda z: z.sigmoid(),
        lambda z: F.log_softmax(z, 1).reshape(len(z), -1).clone(),
        lambda z: F.logsigmoid(z),
        lambda z: torch.special.expit(z)[:, :, None].squeeze(-1),
    ],
)
def test_what_ends_a_model_is_left_out(ending):
    logits, x = twin(), images()
    found = relprop.explain(lambda x: ending(logits(x)), x, 1, method="gradient")
    assert difference(found.relevance, autograd(logits, x, 1)) <= 1e-12
    assert torch.allclose(found.output, logits(x))
    assert any("left out" in note for note in found.notes)


@pytest.mark.parametrize(
    "inside",
    [
        lambda z: z.sigmoid() * 2,
        lambda z: z.softmax(1) + z,
        lambda z: F.pad(z.softmax(1), (1, 0)),
        lambda z: torch.exp(z) / torch.exp(z).sum(1, keepdim=True),
    ],
)
def test_what_is_no_ending_stays(inside):
    logits, x = twin(), images()

    def model(x):
        return inside(logits(x))

    found = relprop.explain(model, x, 1, method="gradient")
    assert difference(found.relevance, autograd(model, x, 1)) <= 1e-10
    assert torch.allclose(found.output, model(x))


def test_a_sigmoid_between_layers_is_no_ending():
    model = nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)).double()
    x = torch.randn(2, 4).double()
    found = relprop.explain(model, x, 0, method="gradient")
    assert difference(found.relevance, autograd(model, x, 0)) <= 1e-12
    assert found.notes == ()


def test_the_predicted_class_is_explained():
    model, x = twin(), images(6)
    found = relprop.explain(model, x, method="gradient")
    predicted = model(x).argmax(1)
    assert torch.equal(found.target, predicted)
    assert difference(found.relevance, autograd(model, x, predicted)) <= 1e-12


def test_several_inputs_keep_their_structure():
    dense = nn.Linear(4, 3).double()

    def model(left, right, keep):
        return dense(left * right.sum(1, keepdim=True)) * keep[:, None]

    inputs = {
        "left": torch.randn(2, 4).double(),
        "right": torch.randn(2, 5).double(),
        "keep": torch.tensor([True, False]),
    }
    found = relprop.explain(model, inputs, 1, method="gradient-x-input").relevance
    assert list(found) == ["left", "right", "keep"] and found["keep"] is None
    each = [inputs[name].clone().requires_grad_() for name in ("left", "right")]
    gradients = torch.autograd.grad(model(*each, inputs["keep"])[:, 1].sum(), each)
    for name, point, gradient in zip(("left", "right"), each, gradients, strict=True):
        assert torch.allclose(found[name], (point * gradient).detach())
    listed = relprop.explain(model, tuple(inputs.values()), 1, method="gradient").relevance
    assert isinstance(listed, tuple) and torch.allclose(listed[1], gradients[1])


class Tokens(nn.Module):
    """Token ids [N, T] and a mask [N, T] of integers to 3 classes."""

    def __init__(self):
        super().__init__()
        self.embedding, self.position = nn.Embedding(11, 6), nn.Embedding(7, 6)
        self.dense = nn.Linear(6, 3)

    def forward(self, ids, mask):
        place = torch.arange(ids.shape[1]).expand(ids.shape)
        x = torch.tanh(self.embedding(ids.view(-1, ids.shape[1])) + self.position(place))
        return self.dense((x * mask[..., None]).sum(1))

    def of_embeddings(self, x, mask):
        x = torch.tanh(x + self.position(torch.arange(x.shape[1])))
        return self.dense((x * mask[..., None]).sum(1))


def test_token_ids_get_a_number_each():
    model = Tokens().double().eval()
    ids, mask = torch.tensor([[1, 4, 4, 0], [9, 10, 2, 3]]), torch.tensor([[1, 1, 1, 0], [1] * 4])
    x = model.embedding(ids).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.of_embeddings(x, mask)[:, 2].sum(), x)
    inputs = {"ids": ids, "mask": mask}
    product = relprop.explain(model, inputs, 2, method="gradient-x-input")
    assert product.relevance["mask"] is None
    assert torch.allclose(product.relevance["ids"], (x * gradient).sum(-1))
    norm = relprop.explain(model, inputs, 2, method="sensitivity", norm="linf")
    assert torch.allclose(norm.relevance["ids"], gradient.abs().amax(-1))
    assert norm.heatmap().shape == (2, 4)
    for method in ("gradient", "smoothgrad", "integrated-gradients"):
        with pytest.raises(InvalidInput, match="token ids, which have no gradient"):
            relprop.explain(model, inputs, 2, method=method)


def test_half_precision_gives_maps_in_single_precision():
    model, x = twin(dtype=torch.bfloat16), images(dtype=torch.bfloat16)
    found = relprop.explain(model, x, 1, method="gradient")
    assert found.relevance.dtype == torch.float32
    assert torch.equal(found.relevance, autograd(model, x, 1).float())


def test_an_input_that_the_output_ignores_is_refused():
    model = nn.Linear(4, 3)
    with pytest.raises(InvalidInput, match="does not depend on input 1"):
        relprop.explain(
            lambda a, b: model(a), (torch.rand(2, 4), torch.rand(2, 4)), method="gradient"
        )
    with pytest.raises(InvalidInput, match=r"detach\(\)"):
        relprop.explain(lambda a: model(a.detach()), torch.rand(2, 4), method="gradient")


def test_a_gradient_that_is_not_finite_is_refused():
    model = nn.Linear(4, 3)
    with pytest.raises(InvalidInput, match="no finite gradient at this input"):
        relprop.explain(lambda x: model(x.sqrt()), torch.zeros(2, 4), method="gradient")


def test_an_operation_without_a_derivative_is_named():
    model = nn.Linear(4, 3)
    with pytest.raises(UnsupportedOperation, match="autograd finds no way back: .*igamma"):
        relprop.explain(
            lambda x: model(torch.igamma(x, torch.ones(4))), torch.rand(2, 4), method="gradient"
        )


@pytest.mark.parametrize("method", ["gradient", "sensitivity", "gradient-x-input"])
def test_active_dropout_is_refused(method):
    head = nn.Linear(4, 3)
    with pytest.raises(InvalidInput, match="dropout is active"):
        relprop.explain(lambda x: head(F.dropout(x, 0.5)), torch.rand(2, 4), method=method)
    with pytest.raises(InvalidInput, match="training mode"):
        relprop.explain(nn.Sequential(nn.Dropout(), head), torch.rand(2, 4), method=method)


def test_an_error_in_the_model_is_told_as_for_lrp():
    with pytest.raises(InvalidInput, match=r"the model failed on inputs of shape \(2, 5\)"):
        relprop.explain(lambda x: nn.Linear(4, 3)(x), torch.rand(2, 5), method="gradient")
