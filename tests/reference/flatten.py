"""An operation that is linear in its inputs, as a matrix: z = x W + b."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor


def flatten(function: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]]):
    """W [n, m] and b [m] of ``function`` for one sample; its inputs are joined to [n]."""
    sizes = [prod(shape) for shape in shapes]

    def flat(x: Tensor) -> Tensor:
        parts = x.split(sizes)
        return function(*(p.reshape(1, *s) for p, s in zip(parts, shapes, strict=True))).reshape(-1)

    zero = torch.zeros(sum(sizes), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(flat, zero)
    return jacobian.T.contiguous(), flat(zero).detach()


def join(inputs: Sequence[Tensor]) -> Tensor:
    """Several inputs [N, ...] as one [N, n]."""
    return torch.cat([part.reshape(len(part), -1) for part in inputs], dim=1)
