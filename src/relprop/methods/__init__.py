"""Every other way to explain, beside LRP: one signature, `method(model, inputs, target)`."""

from . import (  # noqa: F401 - registered
    averaged,
    baselines,
    cam,
    deeplift,
    excitation,
    gradients,
    meaningful_perturbation,
    patternnet,
    prediction_difference,
    rectifiers,
    sampling,
    taylor,
)
from .gaussian_patches import PatchGaussian, fit_patches
from .haufe import haufe_patterns
from .pattern_learning import learn_patterns
from .patterns import Patterns
from .registry import METHODS, Method, find, register
from .through_captum import captum_method

__all__ = [
    "METHODS",
    "Method",
    "PatchGaussian",
    "Patterns",
    "captum_method",
    "find",
    "fit_patches",
    "haufe_patterns",
    "learn_patterns",
    "register",
]
