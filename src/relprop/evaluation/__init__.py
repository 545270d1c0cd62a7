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
    "insertion",
    "make_square",
    "mass_inside",
    "perturb_descriptors",
    "perturbation_curve",
    "quantus_explain_func",
    "rank_accuracy",
    "rank_correlation",
    "region_perturbation",
]
