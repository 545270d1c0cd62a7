"""The architectures of the thesis and its neighbours, each a small file of plain torch modules."""

from relprop.models.architectures.adiencenet import AdienceNet
from relprop.models.architectures.caffenet import CaffeNet
from relprop.models.architectures.densenet121 import DenseNet121
from relprop.models.architectures.efficientnet_lite import EfficientNetLite0
from relprop.models.architectures.googlenet import GoogLeNet
from relprop.models.architectures.resnet50 import ResNet50
from relprop.models.architectures.squeezenet import SqueezeNet
from relprop.models.architectures.vgg16 import Vgg16
from relprop.models.architectures.vgg_cnn_s import VggCnnS

__all__ = [
    "AdienceNet",
    "CaffeNet",
    "DenseNet121",
    "EfficientNetLite0",
    "GoogLeNet",
    "ResNet50",
    "SqueezeNet",
    "Vgg16",
    "VggCnnS",
]
