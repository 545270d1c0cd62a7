"""Dense layers, convolutions and scaling by constants: handlers that yield `Linear`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..recording import Operation, Value
from .family import Family, Refused
from .fixed_maps import Scale
from .linear import Linear, Term
from .maps import Convolution, Dense, LinearMap
from .product import Quotient, matrix_product, product_of
from .registry import overloads, register_operation


@register_operation(
    *overloads("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution")
)
def convolution(operation: Operation) -> Family:
    """Convolution in 1-3 dimensions, grouped, dilated, strided, transposed."""
    x, weight, bias, *options = operation.args
    if operation.target is not torch.ops.aten.convolution.default:
        return Refused(f"{operation.name} is a fused kernel; record under aten.convolution")
    if not isinstance(x, Value) or isinstance(weight, Value):
        return Refused("the convolution's kernel depends on the input")
    constant = None if bias is None else bias.reshape(-1, *[1] * (x.ndim - 2))
    if isinstance(bias, Value):
        return Refused("the convolution's bias depends on the input")
    linear = Convolution(weight, x.shape, tuple(options))
    return Linear([Term(x, linear)], constant, kind="convolution")


@register_operation(*overloads("addmm", "addbmm", "baddbmm", "addmv"))
def dense_with_bias(operation: Operation) -> Family:
    """beta * bias + alpha * (x @ W)."""
    bias, first, second = operation.args[:3]
    beta, alpha = operation.kwargs.get("beta", 1), operation.kwargs.get("alpha", 1)
    product = _matrix_term(first, second)
    if product is None or alpha != 1 or operation.target is torch.ops.aten.addbmm.default:
        return Refused(f"{operation.name} with two dependent factors or alpha={alpha} has no rule")
    if isinstance(bias, Value):
        scale = Scale(torch.tensor(float(beta)), bias.shape)
        return Linear([product, Term(bias, scale)], kind="dense")
    return Linear([product], bias if beta == 1 else bias * beta, kind="dense")


@register_operation(*overloads("mm", "bmm", "mv", "matmul", "linear"))
def dense(operation: Operation) -> Family:
    """x @ W or W @ x; a product of two dependent matrices is shared half and half."""
    first, second = operation.args[:2]
    if operation.target is torch.ops.aten.linear.default:
        return Refused("aten.linear was recorded whole; call it outside of inference_mode")
    term = _matrix_term(first, second)
    return matrix_product(first, second) if term is None else Linear([term], kind="dense")


def _matrix_term(first: Any, second: Any) -> Term | None:
    if isinstance(first, Value) and isinstance(second, Value):
        return None
    if isinstance(first, Value):
        return Term(first, Dense(second))
    return Term(second, Dense(first, left=True))


@register_operation(*overloads("mul.Tensor", "mul.Scalar"))
def multiply(operation: Operation) -> Family:
    """x * constant is linear; x * y of two dependent tensors is a product."""
    first, second = operation.args[:2]
    if isinstance(first, Value) and isinstance(second, Value):
        return product_of(first, second)
    x, factor = (first, second) if isinstance(first, Value) else (second, first)
    return Linear([Term(x, scaling(factor, x))], kind="product")


@register_operation(*overloads("div.Tensor", "div.Scalar"))
def divide(operation: Operation) -> Family:
    """x / constant is linear; of x / y, both dependent, everything goes to the numerator."""
    numerator, denominator = operation.args[:2]
    if not isinstance(numerator, Value):
        return Refused("a constant divided by a dependent tensor has no numerator to explain")
    if isinstance(denominator, Value):
        return Quotient(numerator, kind="product")
    if isinstance(denominator, Tensor):
        inverse = denominator.double().reciprocal()
    else:
        inverse = torch.tensor(float(denominator), dtype=torch.float64).reciprocal()
    return Linear([Term(numerator, scaling(inverse, numerator))], kind="product")


@register_operation(*overloads("neg"))
def negate(operation: Operation) -> Family:
    """-x."""
    x = operation.args[0]
    return Linear([Term(x, scaling(-1.0, x))], kind="product")


def scaling(factor: Tensor | float, x: Value) -> LinearMap:
    """The map x * factor; it follows the dtype of what it is applied to."""
    if not isinstance(factor, Tensor):
        factor = torch.tensor(factor, dtype=torch.float64)
    return Scale(factor, x.shape)
