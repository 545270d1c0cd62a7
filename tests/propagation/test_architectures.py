"""Image models of Transformers, as they are: they run, they conserve, nothing is refused."""

import pytest
import torch

import relprop
from tests.reference.measure import difference, gap, predicted

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


def resnet(**options):
    return transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], num_labels=5, **options
        )
    )


def convnext():
    return transformers.ConvNextForImageClassification(
        transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2, num_labels=5)
    )


def convnext_v2():
    return transformers.ConvNextV2ForImageClassification(
        transformers.ConvNextV2Config(
            hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=5
        )
    )


def mobilenet_v1():
    return transformers.MobileNetV1ForImageClassification(
        transformers.MobileNetV1Config(depth_multiplier=0.25, num_labels=5)
    )


def mobilenet_v2():
    return transformers.MobileNetV2ForImageClassification(
        transformers.MobileNetV2Config(depth_multiplier=0.35, num_labels=5)
    )


def regnet(layer_type):
    return transformers.RegNetForImageClassification(
        transformers.RegNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], groups_width=4,
            layer_type=layer_type, num_labels=5,
        )
    )  # fmt: skip


def efficientnet():
    return transformers.EfficientNetForImageClassification(
        transformers.EfficientNetConfig(
            width_coefficient=0.25, depth_coefficient=0.25, image_size=32, hidden_dim=320,
            num_labels=5,
        )
    )  # fmt: skip


MODELS = {
    "ResNet": lambda: resnet(),
    "ResNet basic": lambda: resnet(layer_type="basic"),
    "ConvNeXt": convnext,
    "ConvNeXt V2": convnext_v2,
    "MobileNetV1": mobilenet_v1,
    "MobileNetV2": mobilenet_v2,
    "RegNet x": lambda: regnet("x"),
    "RegNet y": lambda: regnet("y"),
    "EfficientNet": efficientnet,
}


def prepared(name):
    """The model in float64, with statistics as if trained, and two random images."""
    torch.manual_seed(1)
    model = MODELS[name]().double().eval()
    for key, value in model.named_buffers():
        if "running_mean" in key:
            value.normal_(0, 0.1)
        elif "running_var" in key:
            value.uniform_(0.5, 1.5)
    return model, torch.randn(2, 3, 32, 32).double()


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers_run_unmodified_and_conserve(name):
    model, x = prepared(name)
    for rules in (None, "epsilon", "epsilon-gamma-flat", "alpha1beta0"):
        explanation = relprop.explain(model, x, rules=rules)
        assert explanation.relevance.shape == x.shape
        assert explanation.relevance.isfinite().all()
        assert explanation.relevance.abs().max() > 0
        assert gap(explanation, predicted(explanation)) <= 1e-9, rules
        assert torch.allclose(explanation.output, model(x).logits.detach())


@pytest.mark.parametrize("name", MODELS)
def test_float32_conserves_to_four_digits(name):
    model, x = prepared(name)
    explanation = relprop.explain(model.float(), x.float())
    assert gap(explanation, predicted(explanation)) <= 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_coverage_refuses_nothing(name):
    model, x = prepared(name)
    rows = list(relprop.Explainer(model).coverage(x))
    assert rows
    assert not [row for row in rows if "refused" in str(row.rule)]


def test_a_dict_as_the_processor_of_transformers_gives_it():
    model, x = prepared("ResNet")
    explanation = relprop.explain(model, {"pixel_values": x}, 1)
    plain = relprop.explain(model, x, 1)
    assert difference(explanation.relevance["pixel_values"], plain.relevance) <= 1e-12


def test_the_default_of_a_residual_network():
    model, x = prepared("ResNet")
    assert relprop.explain(model, x).preset == "graded-gamma"


def test_layers_by_the_names_of_transformers():
    model, x = prepared("ResNet")
    name = "resnet.encoder.stages.0"
    layers = relprop.explain(model, x, layers=[name]).layers
    assert layers[name].shape == (2, 8, 8, 8)
