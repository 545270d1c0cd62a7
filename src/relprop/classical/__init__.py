"""Classical models: kernel machines, anomaly detectors, bags of words, Fisher vectors.

scikit-learn is the host: estimators here follow its interface, and `relprop.explain` understands
fitted scikit-learn models and pipelines (thesis 2.4, 4.2-4.3, appendices A, C.2, D).
"""

from importlib import import_module
from typing import Any

_HOMES = {  # file -> its public names, loaded when they are first asked for
    "anomaly": ("inlierness", "outlierness", "soft_min_outlierness"),
    "areas": ("Areas", "Boxes", "LocalFeatures", "Masks"),
    "encoding": ("ImageEncoder", "Recorded"),
    "expansion": ("Expansion",),
    "explaining": ("explain_estimator",),
    "fisher": ("FisherVector",),
    "fisher_rules": ("SumAlphaBeta", "SumEpsilon", "SumMagnitude"),
    "kernels": (
        *("AdditiveChiSquared", "ChiSquared", "Columns", "Hellinger", "HistogramIntersection"),
        *("Linear", "Polynomial", "Rbf", "Sigmoid"),
    ),
    "machines": ("KernelOneClass", "KernelSVC", "KernelSVR"),
    "mapping": ("Hard", "Rank", "Soft"),
    "mixture": ("Mixture",),
    "mkl": ("MultipleKernelSVC",),
    "networks": ("as_network",),
    "projection": ("Projection",),
    "pyramid": ("SpatialPyramid",),
    "registry": ("estimator", "step"),
    "shap_export": ("to_shap",),
    "shared": ("Shared",),
    "sift": ("DenseSift",),
    "svdd": ("KernelSVDD",),
    "turned_sift": ("TurnedSift",),
    "walking": ("Decided", "Options", "Walk"),
    "words": ("BagOfWords",),
}
_FILES = {name: file for file, names in _HOMES.items() for name in names}

__all__ = sorted(_FILES)


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f".{_FILES[name]}", __name__), name)
    raise AttributeError(f"module 'relprop.classical' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})
