"""Models by name: small trained ones, ImageNet networks with weights, and architectures."""

from relprop.models.cifar10 import CifarVgg
from relprop.models.mnist import LeNet5, Mlp
from relprop.models.registry import load, names

__all__ = ["CifarVgg", "LeNet5", "Mlp", "load", "names"]
