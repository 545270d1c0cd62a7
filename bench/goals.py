"""What an explanation may cost, batch 4 and two threads: over a gradient, and beside zennit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """At most these times a gradient's time and memory; at least so often faster than zennit."""

    vgg16: float
    resnet50: float
    peak: float
    faster: float | None


GOALS = {
    "epsilon": Goal(1.05, 1.10, 1.25, 2.2),
    "alpha1beta0": Goal(1.6, 1.7, 1.25, 2.5),
    "alpha2beta1": Goal(2.1, 2.2, 1.4, 3.0),
    "epsilon-gamma-box": Goal(2.1, 2.2, 1.4, 3.5),
    "thesis": Goal(2.1, 2.2, 1.4, None),
}
NETWORKS = ("vgg16", "resnet50")
RECORDING = 30  # microseconds an operation
FIRST_CALL = 1.5  # over a later one, ResNet-50
IMPORT = 0.5  # seconds beyond torch
