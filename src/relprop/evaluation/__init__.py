"""Is this heatmap right, and what does the model look at? Takes arrays and callables of any origin.

A model is `f(batch) -> scores`, a heatmap is an array `[N, H, W]`: networks, pipelines and other
tools' explanations are measured alike.
"""

from .areas import abpc, deletion, insertion, rank_correlation
from .concentration import entropy, gini
from .context import ClassContext, ContextRatio, box_mask, context_figure, context_ratio
from .curve import Curve
from .descriptors import perturb_descriptors
from .estimate import Estimate, estimate
from .figures import curve_figure
from .localisation import mass_inside, rank_accuracy
from .neighbours import quantus_explain_func
from .perturbation import region_perturbation
from .randomisation import (
    Randomisation,
    histogram_entropy,
    map_similarity,
    noise_averaged,
    randomisation_test,
)
from .randomised import randomised
from .runs import Steps, perturbation_curve
from .squares import SQUARES, make_square
from .variants import InputComparison, compare_inputs

__all__ = [
    "SQUARES",
    "ClassContext",
    "ContextRatio",
    "Curve",
    "Estimate",
    "InputComparison",
    "Randomisation",
    "Steps",
    "abpc",
    "box_mask",
    "compare_inputs",
    "context_figure",
    "context_ratio",
    "curve_figure",
    "deletion",
    "entropy",
    "estimate",
    "gini",
    "histogram_entropy",
    "insertion",
    "make_square",
    "map_similarity",
    "mass_inside",
    "noise_averaged",
    "perturb_descriptors",
    "perturbation_curve",
    "quantus_explain_func",
    "randomisation_test",
    "randomised",
    "rank_accuracy",
    "rank_correlation",
    "region_perturbation",
]
