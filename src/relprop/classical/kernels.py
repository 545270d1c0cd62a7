"""All kernels, and their names."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnknownName
from .additive_kernels import AdditiveChiSquared, Hellinger, HistogramIntersection, Linear
from .kernel import Columns, Combined, Kernel
from .smooth_kernels import ChiSquared, DistanceKernel, Polynomial, Rbf, Sigmoid

__all__ = [
    "KERNELS",
    "AdditiveChiSquared",
    "ChiSquared",
    "Columns",
    "Combined",
    "DistanceKernel",
    "Hellinger",
    "HistogramIntersection",
    "Kernel",
    "Linear",
    "Polynomial",
    "Rbf",
    "Sigmoid",
    "find_kernel",
]

KERNELS: dict[str, Callable[[], Kernel]] = {
    "linear": Linear,
    "histogram_intersection": HistogramIntersection,
    "additive_chi2": AdditiveChiSquared,
    "hellinger": Hellinger,
    "rbf": Rbf,
    "chi2": ChiSquared,
    "poly": Polynomial,
    "sigmoid": Sigmoid,
}


def find_kernel(kernel: str | Kernel) -> Kernel:
    """The kernel itself, or the one of that name with its default parameters; UnknownName else."""
    if isinstance(kernel, Kernel):
        return kernel
    if not isinstance(kernel, str) or kernel not in KERNELS:
        raise UnknownName("kernel", kernel, KERNELS)
    return KERNELS[kernel]()
