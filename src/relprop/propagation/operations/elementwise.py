"""Element-wise operations: one input, so all relevance is its own (thesis 2.37)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..recording import Operation
from ..rules import Rule
from .family import Context, Family, OneInput, Refused, Share, Sharer
from .registry import overloads, register_operation


@dataclass(frozen=True, eq=False)
class Activation(OneInput):
    """R_in = R_out."""

    kind: str = field(default="activation", kw_only=True)
    default: ClassVar[str] = "pass"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        return lambda relevance: Share([relevance[0]])


@dataclass(frozen=True, eq=False)
class LeftOut(Activation):
    """The softmax or sigmoid that ends a model: relevance starts at its input (thesis 2.3.1)."""

    default: ClassVar[str] = "left out: relevance starts at its input"


@register_operation(
    *overloads(
        *("relu", "hardtanh", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "celu"),
        *("hardswish", "hardsigmoid", "sigmoid", "tanh", "softshrink", "hardshrink", "threshold"),
        *("_prelu_kernel", "prelu", "rrelu_with_noise", "log_sigmoid_forward", "selu", "relu6"),
        *(
            "clamp",
            "clamp.Tensor",
            "clamp_min",
            "clamp_max",
            "clamp_min.Tensor",
            "clamp_max.Tensor",
        ),
        *("abs", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt"),
        *("reciprocal", "pow.Tensor_Scalar", "pow.Scalar", "square", "erf", "erfc", "erfinv"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"),
        *("nan_to_num", "logit", "sinc", "lgamma", "digamma", "special_expit"),
    )
)
def activation(operation: Operation) -> Family:
    """Any function of one variable, applied to each element."""
    inputs = list(operation.inputs())
    if len(inputs) != 1 or inputs[0].shape != operation.output.shape:
        return Refused(f"{operation.name} with {len(inputs)} dependent inputs has no rule")
    return Activation(inputs[0])
