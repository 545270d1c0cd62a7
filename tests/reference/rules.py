"""Every rule on x [n], W [n, m], b [m] of one sample: which fraction of R_j goes where.

z_ij = x_i w_ij throughout. Nothing here is shared with the package: these are the formulas of
the thesis and of its corrections, once more, on matrices.
"""

from typing import NamedTuple

import torch
from torch import Tensor

STABILISER = 1e-9


class Shares(NamedTuple):
    """Fractions of R_j: to each input [n, m], and to the bias, the stabiliser and nowhere [m]."""

    inputs: Tensor
    bias: Tensor
    stabiliser: Tensor
    lost: Tensor


def sign(z: Tensor) -> Tensor:
    return torch.where(z >= 0, 1.0, -1.0).to(z)


def rms(z: Tensor) -> Tensor:
    return z.square().mean().sqrt()


def over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, where nothing over anything is nothing."""
    return torch.where(numerator == 0, 0.0, numerator / denominator)


def stabilised(z: Tensor) -> tuple[Tensor, Tensor]:
    term = STABILISER * rms(z) * sign(z)
    return z + term, term


def epsilon(x, W, b, *, epsilon=1e-6, relative=False, bias="absorb") -> Shares:
    """Thesis 2.22."""
    b = torch.zeros_like(b) if bias == "ignore" else b
    z_ij = x[:, None] * W
    z = z_ij.sum(0) + b
    term = epsilon * (rms(z) if relative else 1.0) * sign(z)
    inputs, to_bias = over(z_ij, z + term), over(b, z + term)
    if bias == "distribute":
        seen = (W != 0).to(W)
        inputs = inputs + over(seen, seen.sum(0)) * to_bias
        to_bias = torch.where(seen.sum(0) > 0, 0.0, to_bias)
    stabiliser = over(term, z + term)
    return Shares(inputs, to_bias, stabiliser, torch.zeros_like(z))


def alpha_beta(x, W, b, *, alpha=2.0, beta=-1.0, redistribute=False) -> Shares:
    """Thesis 2.26."""
    plus_ij, minus_ij = (x[:, None] * W).clamp(min=0), (x[:, None] * W).clamp(max=0)
    plus, minus = plus_ij.sum(0) + b.clamp(min=0), minus_ij.sum(0) + b.clamp(max=0)
    no_plus, no_minus = plus == 0, minus == 0
    a, c = torch.full_like(plus, alpha), torch.full_like(minus, beta)
    lost = torch.where(no_plus, a, 0.0) + torch.where(no_minus, c, 0.0)
    if redistribute:
        a, c = torch.where(no_minus, 1.0, a), torch.where(no_plus, 1.0, c)
        lost = (no_plus & no_minus).to(plus)
    (s_plus, e_plus), (s_minus, e_minus) = stabilised(plus), stabilised(minus)
    e_plus, e_minus = torch.where(no_plus, 0.0, e_plus), torch.where(no_minus, 0.0, e_minus)
    return Shares(
        a * over(plus_ij, s_plus) + c * over(minus_ij, s_minus),
        a * over(b.clamp(min=0), s_plus) + c * over(b.clamp(max=0), s_minus),
        a * over(e_plus, s_plus) + c * over(e_minus, s_minus),
        lost,
    )


def z_plus(x, W, b) -> Shares:
    return alpha_beta(x, W, b, alpha=1.0, beta=0.0)


def gamma(x, W, b, *, gamma=0.25) -> Shares:
    """Montavon et al. 2019, for inputs and outputs of either sign."""
    z_ij = x[:, None] * W
    positive = z_ij.sum(0) + b >= 0

    def favoured(part: Tensor) -> Tensor:
        return part + gamma * torch.where(positive, part.clamp(min=0), part.clamp(max=0))

    z, term = stabilised(favoured(z_ij).sum(0) + favoured(b))
    none = z == 0
    return Shares(over(favoured(z_ij), z), over(favoured(b), z), over(term, z), none.to(z))


def flat(x, W, b) -> Shares:
    """Thesis 2.27."""
    seen = (W != 0).to(W)
    none = torch.zeros_like(b)
    return Shares(over(seen, seen.sum(0)), none, none, (seen.sum(0) == 0).to(b))


def w_square(x, W, b) -> Shares:
    """Thesis 2.28."""
    z, term = stabilised(W.square().sum(0))
    none = W.square().sum(0) == 0
    term = torch.where(none, 0.0, term)
    return Shares(over(W.square(), z), torch.zeros_like(b), over(term, z), none.to(b))


def box(x, W, b, *, low, high) -> Shares:
    """The z^B rule, Montavon et al. 2017; low and high are numbers or [n]."""
    low, high = (torch.as_tensor(v, dtype=x.dtype).expand_as(x)[:, None] for v in (low, high))
    z_ij = x[:, None] * W - low * W.clamp(min=0) - high * W.clamp(max=0)
    z, term = stabilised(z_ij.sum(0))
    none = (z_ij == 0).all(0)
    term = torch.where(none, 0.0, term)
    return Shares(over(z_ij, z), torch.zeros_like(b), over(term, z), none.to(b))


def magnitude(x, W, b) -> Shares:
    """Thesis 2.7."""
    z_ij = (x[:, None] * W).abs()
    none = torch.zeros_like(b)
    return Shares(over(z_ij, z_ij.sum(0)), none, none, (z_ij.sum(0) == 0).to(b))


def share(rule, x: Tensor, W: Tensor, b: Tensor, R: Tensor, **options):
    """One sample: relevance of the inputs [n], then what bias, stabiliser and nothing received."""
    shares = rule(x, W, b, **options)
    return shares.inputs @ R, shares.bias @ R, shares.stabiliser @ R, shares.lost @ R
