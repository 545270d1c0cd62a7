"""Shared: what one step backwards made of the relevance of its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shared:
    """Relevance of a step's inputs, and what did not reach them.

    What was received is relevance + bias + stabiliser + lost, sample by sample: each computed from
    its own formula, so that the ledger's remainder shows what a mistake would lose.

    Attributes:
        relevance: `[n, d]`, or a list with one array for each sample where they differ in size.
        bias, stabiliser, lost: `[n]`, what constants, an epsilon and empty shares absorbed.
    """

    relevance: Any
    bias: Floats
    stabiliser: Floats
    lost: Floats

    @classmethod
    def exact(cls, relevance: Floats) -> Shared:
        """All of it reached the inputs."""
        nothing = np.zeros(len(relevance))
        return cls(relevance, nothing, nothing, nothing)
