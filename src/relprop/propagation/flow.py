"""Flow: one stream of relevance through a linear operation; what a rule is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .parts import Part

GUARD = 1e-9  # of a denominator's root mean square: keeps what is almost empty from exploding
TINY = 1e-30  # keeps 0 / 0 from being NaN where no relevance arrives
SMALL = 10 * TINY  # a side that is no larger is empty
ROUNDED = 1e-2  # of z+ in single precision: a smaller difference is not accurate to 1e-4

# One tensor for each input (None: nothing flows to it), or None: ones for all of them.
Inputs = Sequence[Tensor | None] | None
Products = Sequence[tuple[Inputs, Part]]


@dataclass(frozen=True, eq=False)
class Flow:
    """One stream of relevance through a linear operation.

    `products`: pairs (what stands for x in each input, None for ones; part of w) whose sum over
    inputs, plus `bias`, is `denominator`. `share`: the factor of R_j that flows here. `stabiliser`
    is added to the denominator away from zero; `sign` is the denominator's, where that is known.
    With `guard`, outputs with denominator 0 have no inputs on this side and their relevance is
    lost; so are those marked as `empty`, whose denominator is infinite. With `base` the denominator
    is a factor of that flow's, and `carries` the share of R_j (otherwise `share`). `lone` is the
    only input that this side of a sum can come from: it receives the share wherever it is negative.
    """

    products: Products
    denominator: Tensor
    stabiliser: Tensor | float
    share: Tensor | float = 1.0
    bias: Tensor | None = None
    guard: bool = True
    sign: int = 0
    empty: Tensor | None = None
    base: Flow | None = None
    carries: float | None = None
    lone: int | None = None
