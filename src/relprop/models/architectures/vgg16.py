"""VGG-16 (Simonyan and Zisserman 2015, configuration D)."""

from collections import OrderedDict

from torch import nn

from relprop.models.imagenet import IMAGENET_CLASSES, caffe_preprocessing

_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Vgg16(nn.Sequential):
    """VGG-16 with Caffe's layer names, `[N, 3, 224, 224]` (BGR) -> logits `[N, 1000]`."""

    classes = IMAGENET_CLASSES
    preprocessing = caffe_preprocessing(224)
    flat_until = "pool2"  # thesis 5.4.2

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = []
        inputs = 3
        for stage, channels in enumerate(_CHANNELS, 1):
            for index, outputs in enumerate(channels, 1):
                layers.append((f"conv{stage}_{index}", nn.Conv2d(inputs, outputs, 3, padding=1)))
                layers.append((f"relu{stage}_{index}", nn.ReLU()))
                inputs = outputs
            layers.append((f"pool{stage}", nn.MaxPool2d(2)))
        layers += [
            ("flatten", nn.Flatten()),
            ("fc6", nn.Linear(512 * 7 * 7, 4096)),
            ("relu6", nn.ReLU()),
            ("drop6", nn.Dropout(0.5)),
            ("fc7", nn.Linear(4096, 4096)),
            ("relu7", nn.ReLU()),
            ("drop7", nn.Dropout(0.5)),
            ("fc8", nn.Linear(4096, 1000)),
        ]
        super().__init__(OrderedDict(layers))
