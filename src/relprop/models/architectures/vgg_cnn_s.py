"""VGG CNN S, the "slow" network of Chatfield et al. 2014: wide strides late, LRN once."""

from collections import OrderedDict

from torch import nn

from relprop.models.imagenet import IMAGENET_CLASSES, caffe_preprocessing


class VggCnnS(nn.Sequential):
    """VGG CNN S with Caffe's layer names, `[N, 3, 224, 224]` (BGR) -> logits `[N, 1000]`."""

    classes = IMAGENET_CLASSES
    preprocessing = caffe_preprocessing(224)

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(3, 96, 7, stride=2)),
            ("relu1", nn.ReLU()),
            ("norm1", nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)),
            ("pool1", nn.MaxPool2d(3, stride=3, ceil_mode=True)),
            ("conv2", nn.Conv2d(96, 256, 5)),
            ("relu2", nn.ReLU()),
            ("pool2", nn.MaxPool2d(2, stride=2, ceil_mode=True)),
            ("conv3", nn.Conv2d(256, 512, 3, padding=1)),
            ("relu3", nn.ReLU()),
            ("conv4", nn.Conv2d(512, 512, 3, padding=1)),
            ("relu4", nn.ReLU()),
            ("conv5", nn.Conv2d(512, 512, 3, padding=1)),
            ("relu5", nn.ReLU()),
            ("pool5", nn.MaxPool2d(3, stride=3, ceil_mode=True)),
            ("flatten", nn.Flatten()),
            ("fc6", nn.Linear(512 * 6 * 6, 4096)),
            ("relu6", nn.ReLU()),
            ("drop6", nn.Dropout(0.5)),
            ("fc7", nn.Linear(4096, 4096)),
            ("relu7", nn.ReLU()),
            ("drop7", nn.Dropout(0.5)),
            ("fc8", nn.Linear(4096, 1000)),
        ]
        super().__init__(OrderedDict(layers))
