import pytest
import torch
from torch import nn

from relprop.models import architectures, load, names
from relprop.models.imagenet import IMAGENET_CLASSES
from relprop.models.initialisation import randomise, randomise_statistics

# As published; for CaffeNet, AdienceNet and VGG CNN S as their layer tables give.
PARAMETERS = {
    "CaffeNet": 60_965_224,
    "AdienceNet": 11_415_048,
    "Vgg16": 138_357_544,
    "VggCnnS": 102_908_520,
    "GoogLeNet": 6_998_552,
    "ResNet50": 25_557_032,
    "DenseNet121": 7_978_856,
    "SqueezeNet": 1_235_496,
    "EfficientNetLite0": 4_652_008,
}


def shaped(name):
    """The model without memory behind its weights, and an image for it."""
    with torch.device("meta"):
        model = getattr(architectures, name)().eval()
        preprocessing = model.preprocessing
        return model, torch.empty(2, preprocessing.channels, *preprocessing.size)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_output_shape(name):
    model, images = shaped(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert model(images).shape == (2, len(model.classes))


def test_every_architecture_is_counted():
    assert set(PARAMETERS) == set(architectures.__all__)


@pytest.mark.parametrize(
    "name, layer, shape",
    [
        ("CaffeNet", "pool1", (96, 27, 27)),
        ("CaffeNet", "pool5", (256, 6, 6)),
        ("AdienceNet", "pool1", (96, 28, 28)),
        ("AdienceNet", "pool5", (384, 7, 7)),
        ("Vgg16", "pool2", (128, 56, 56)),
        ("Vgg16", "pool5", (512, 7, 7)),
        ("VggCnnS", "pool1", (96, 37, 37)),
        ("VggCnnS", "pool5", (512, 6, 6)),
        ("GoogLeNet", "conv2/3x3", (192, 56, 56)),
        ("GoogLeNet", "inception_4e", (832, 14, 14)),
        ("GoogLeNet", "inception_5b", (1024, 7, 7)),
        ("SqueezeNet", "pool3", (128, 28, 28)),
        ("SqueezeNet", "fire9", (512, 14, 14)),
        ("ResNet50", "layer4", (2048, 7, 7)),
        ("DenseNet121", "features.denseblock4", (1024, 7, 7)),
        ("EfficientNetLite0", "head", (1280, 7, 7)),
    ],
)
def test_layers_have_the_published_shapes(name, layer, shape):
    model, images = shaped(name)
    seen = []
    model.get_submodule(layer).register_forward_hook(lambda *call: seen.append(call[2].shape[1:]))
    model(images)
    assert [tuple(s) for s in seen] == [shape]


@pytest.mark.parametrize(
    "name, depth",
    [
        ("CaffeNet", "conv1"),
        ("AdienceNet", "conv1"),
        ("GoogLeNet", "conv2/3x3"),
        ("Vgg16", "pool2"),
    ],
)
def test_decomposition_depths_name_layers(name, depth):
    model, _ = shaped(name)
    assert model.flat_until == depth  # thesis 5.4.2
    assert model.get_submodule(depth) is not None


def test_stride_of_resnet_lies_in_the_3x3_convolution():
    model, _ = shaped("ResNet50")
    assert model.layer2[0].conv1.stride == (1, 1) and model.layer2[0].conv2.stride == (2, 2)


@pytest.mark.parametrize("name", ["googlenet", "efficientnet-lite0"])
def test_random_weights_are_seeded(name):
    first, again = (load(name, pretrained=False, seed=1).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = load(name, pretrained=False, seed=2)
    assert not all(torch.equal(first[k], v) for k, v in other.state_dict().items())


@pytest.mark.parametrize(
    "name", ["resnet50", "densenet121", "efficientnet-lite0", "googlenet", "squeezenet"]
)
def test_random_weights_are_sane_and_batch_norm_matters(name):
    model = load(name, pretrained=False)
    assert not any(module.training for module in model.modules())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        logits = model(torch.randn(1, 3, *model.preprocessing.size, generator=generator))
    assert 0.1 < logits.std() < 10
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.momentum == 0.1 and layer.running_var.min() > 0
            for tensor, neutral in ((layer.weight, 1), (layer.running_mean, 0), (layer.bias, 0)):
                assert (tensor - neutral).abs().max() > 1e-3


def test_statistics_keep_every_scale_and_the_modes():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.ReLU())
    model[1].eval()
    randomise(model, size=(3, 16, 16))
    assert [module.training for module in model.children()] == [True, False, True, True]
    with torch.no_grad():
        images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
        normed = model[1](model[0](images))
    assert 0.5 < normed.std() < 2 and normed.mean().abs() < 0.5
    plain = nn.Linear(2, 2)
    before = plain.weight.clone()
    randomise_statistics(plain, size=(2,))  # nothing to do
    assert torch.equal(plain.weight, before)


def test_class_names_are_the_thousand():
    assert len(set(IMAGENET_CLASSES)) == 1000
    assert [IMAGENET_CLASSES[i] for i in (0, 281, 285, 517, 967, 999)] == [
        "tench", "tabby", "Egyptian cat", "crane (machine)", "espresso", "toilet tissue",
    ]  # fmt: skip


def test_bounds_of_every_preprocessing_hold_what_it_gives():
    for name in names():
        entry = shaped_entry(name)
        noise = torch.randint(0, 256, (300, 280, 3), generator=torch.Generator().manual_seed(0))
        seen = entry.preprocessing(noise.byte().numpy()).flatten(1)
        low, high = torch.tensor(entry.preprocessing.low), torch.tensor(entry.preprocessing.high)
        assert (seen.amin(1) >= low - 1e-5).all() and (seen.amax(1) <= high + 1e-5).all()


def shaped_entry(name):
    from relprop.models.registry import _ENTRIES

    with torch.device("meta"):
        return _ENTRIES[name].build()
