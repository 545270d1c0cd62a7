"""CAM, Grad-CAM, guided Grad-CAM, and the layer that they read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput, UnknownName
from relprop.models import architectures
from tests.laws.networks import laws
from tests.methods.twins import WAYS, images, twin
from tests.reference.measure import difference


class Pooled(nn.Module):
    """Convolutions, global average pooling, one dense layer. [N, 3, H, W] -> 4."""

    def __init__(self, *, bias=True):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 7, 3, bias=bias), nn.ReLU(),
        )  # fmt: skip
        self.dense = nn.Linear(7, 4, bias=bias)

    def forward(self, x):
        return self.dense(self.features(x).mean((2, 3)))


def pooled(*, seed=0, bias=True):
    torch.manual_seed(seed)
    return Pooled(bias=bias).double().eval()


@laws(20)
@given(st.integers(0, 1000), st.integers(0, 3), st.booleans())
def test_cam_is_the_plain_rule_at_the_last_layer(seed, target, bias):
    """Epsilon(0) on the dense layer, summed over the channels of its input."""
    model, x = pooled(seed=seed, bias=bias), images(2, seed=seed)
    found = relprop.explain(model, x, target, method="cam")
    plain = relprop.explain(model, x, target, rules=relprop.Epsilon(0), layers=["features"])
    wanted = plain.layers["features"].sum(1)
    ((name, maps),) = found.layers.items()
    assert name == "features.4"
    assert torch.allclose(maps, wanted, rtol=1e-6, atol=1e-9)
    bias = 0 if model.dense.bias is None else model.dense.bias[target]
    assert torch.allclose(maps.sum((1, 2)) + bias, model(x)[:, target])


def test_cam_is_zhous_sum_of_weighted_channels():
    model, x = pooled(), images(2)
    activations = model.features(x)
    wanted = torch.einsum("c,nchw->nhw", model.dense.weight[2], activations)
    found = relprop.explain(model, x, 2, method="cam").layers["features.4"]
    assert torch.allclose(found, wanted / wanted[0].numel())


def test_cam_of_a_convolution_as_classifier():
    """As in SqueezeNet: a 1 x 1 convolution to the classes, a ReLU, global average pooling."""
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Softmax(1),
    ).double()  # fmt: skip
    x = images(2)
    found = relprop.explain(model, x, 2, method="cam")
    wanted = model[:4](x)[:, 2]
    assert torch.allclose(found.layers["3"], wanted / wanted[0].numel())


def test_cam_needs_a_linear_end():
    with pytest.raises(InvalidInput, match=r"aten.relu.default in 'relu4' is not: use 'grad-cam'"):
        relprop.explain(twin(), images(), 1, method="cam")


def test_cam_may_be_read_at_another_layer_with_a_linear_rest():
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()
    x = images(2)
    found = relprop.explain(model, x, 2, method="cam", layer="1").layers["1"]
    assert torch.allclose(found.sum((1, 2)) + model[2].bias[2], model(x)[:, 2])
    with pytest.raises(InvalidInput, match=r"behind layer '0' \(5 x 10 x 10\).*aten.relu.default"):
        relprop.explain(model, x, 2, method="cam", layer="0")


def test_grad_cam_is_captums():
    attr, model, x = pytest.importorskip("captum.attr"), pooled(), images()
    for layer in ("features.4", "features.0", "features.2"):
        module = model.get_submodule(layer)
        wanted = attr.LayerGradCam(model, module).attribute(
            x.clone(), target=2, relu_attributions=True
        )
        found = relprop.explain(model, x, 2, method="grad-cam", layer=layer)
        assert torch.allclose(found.layers[layer], wanted[:, 0].detach())
        laid = F.interpolate(wanted, (12, 12), mode="bilinear", align_corners=False)
        assert torch.allclose(found.relevance.sum(1), laid[:, 0].detach())


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_guided_grad_cam_is_captums():
    attr, model, x = pytest.importorskip("captum.attr"), pooled(), images()
    wanted = attr.GuidedGradCam(model, model.features[4]).attribute(
        x.clone(), target=2, interpolate_mode="bilinear"
    )
    found = relprop.explain(model, x, 2, method="guided-grad-cam", layer="features.4")
    assert torch.allclose(found.relevance, wanted.detach())
    assert found.pooling == "l2"


@pytest.mark.parametrize("method", ["grad-cam", "guided-grad-cam"])
@pytest.mark.parametrize("way", WAYS)
def test_the_way_a_model_is_written_does_not_matter(method, way):
    x = images()
    found = relprop.explain(twin(way), x, 3, method=method)
    wanted = relprop.explain(twin(), x, 3, method=method, layer="relu3")
    assert (wanted.relevance.flatten(1).abs().amax(1) > 0).all()
    assert difference(found.relevance, wanted.relevance) <= 1e-12
    ((_, maps),) = found.layers.items()
    assert torch.allclose(maps, wanted.layers["relu3"])


def test_a_module_that_runs_twice_is_read_at_its_last_run():
    x = images()
    reused = twin(next(way for way in WAYS if way.__name__ == "Reused"))
    with pytest.raises(InvalidInput, match=r"'relu1' has the shape \(3, 10\), without positions"):
        relprop.explain(reused, x, method="grad-cam", layer="relu1")


@pytest.mark.parametrize(
    ("network", "side", "name", "shape"),
    [
        (architectures.Vgg16, 224, "relu5_3", (512, 14, 14)),
        (architectures.ResNet50, 64, "layer4.2.relu", (2048, 2, 2)),
        (architectures.DenseNet121, 64, "relu", (1024, 2, 2)),
        (architectures.GoogLeNet, 224, "inception", (1024, 7, 7)),
        (architectures.SqueezeNet, 64, "relu", (1000, 3, 3)),
        (architectures.EfficientNetLite0, 64, "head", (1280, 2, 2)),
        (architectures.CaffeNet, 227, "relu5", (256, 13, 13)),
    ],
)
def test_the_layer_is_the_last_one_before_pooling(network, side, name, shape):
    found = relprop.explain(network().eval(), torch.randn(1, 3, side, side), 0, method="grad-cam")
    ((layer, maps),) = found.layers.items()
    assert maps.shape[1:] == shape[1:]
    assert f"({' x '.join(map(str, shape))})" in found.notes[-1]
    assert name in layer


def test_signals_and_volumes_have_positions_too():
    for kind, size in ((nn.Conv1d, (20,)), (nn.Conv3d, (6, 6, 6))):
        model = nn.Sequential(kind(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
        x = torch.randn(2, 2, *size)
        model(x)
        found = relprop.explain(model, x, "all", method="grad-cam")
        assert found.relevance.shape == (2, 3, 2, *size)
        assert found.heatmap().shape == (2, 3, *size)


def test_only_the_image_has_a_map():
    model = pooled()

    def both(image, extra):
        return model(image) * extra

    found = relprop.explain(both, (images(2), torch.rand(2, 1).double()), 1, method="grad-cam")
    assert found.relevance[1] is None and found.relevance[0].shape == (2, 3, 12, 12)
    assert found.heatmap().shape == (2, 12, 12)


def test_two_images_cannot_share_a_layer():
    model = pooled()
    with pytest.raises(InvalidInput, match="must come from one input .* and comes from 2"):
        relprop.explain(lambda a, b: model(a + b), (images(2), images(2)), method="grad-cam")


@pytest.mark.parametrize("method", ["cam", "grad-cam", "guided-grad-cam"])
def test_layers_that_do_not_fit_are_refused(method):
    model, x = pooled(), images(2)
    with pytest.raises(UnknownName, match=r"unknown layer 'feature'; there are: dense, features"):
        relprop.explain(model, x, method=method, layer="feature")
    with pytest.raises(InvalidInput, match=r"'dense' has the shape \(2, 4\), without positions"):
        relprop.explain(model, x, method=method, layer="dense")
    with pytest.raises(InvalidInput, match="layer must be the name of a module, got 3"):
        relprop.explain(model, x, method=method, layer=3)
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(InvalidInput, match="layer 'spare' did not run"):
        relprop.explain(model, x, method=method, layer="spare")


def test_a_model_without_convolutions_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with pytest.raises(InvalidInput, match="no convolution of this model has any"):
        relprop.explain(model, images(), method="grad-cam")


def test_a_layer_beside_the_output_is_refused():
    class Beside(Pooled):
        def forward(self, x):
            self.features[0](x)
            return self.dense(x.mean((2, 3)).repeat(1, 3)[:, :7])

    with pytest.raises(InvalidInput, match="the output does not depend on layer 'features.0'"):
        relprop.explain(Beside().double(), images(2), method="grad-cam", layer="features.0")
