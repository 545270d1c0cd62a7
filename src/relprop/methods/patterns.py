"""Patterns: what in a layer's input its neurons detect, learned from data (Kindermans et al. 2017).

A weight vector w filters the signal out of distraction, so w itself is not the signal. For an input
x = a s + distraction and a neuron y = w x, the pattern a is the covariance of x and y over the
variance of y: what changes in x with y. For a neuron that a ReLU follows, only inputs that make it
fire tell (the two-component estimator); both moments are taken over these, so that neither a bias
nor a distraction with a mean changes the pattern.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InvalidInput, StoreMismatch

FORMAT = "relprop-patterns-1"


@dataclass(frozen=True, eq=False)
class Patterns:
    """One pattern for each neuron of each dense layer and convolution, shaped like the weights.

    Attributes:
        tensors: name of the layer -> pattern, in the order in which the layers run; the name is the
            module's, with the number of the run where it runs more than once.
        estimator: "relu" (two-component where a ReLU follows, linear elsewhere) or "linear".
        samples: how many inputs they were learned from.
    """

    tensors: Mapping[str, Tensor]
    estimator: str
    samples: int

    def save(self, path: str | Path) -> Path:
        """Write to a `.safetensors` file; returns its path. Raises InvalidInput, OSError."""
        path = _checked(path)
        described = {
            "format": FORMAT,
            "estimator": self.estimator,
            "samples": str(self.samples),
            "layers": json.dumps(list(self.tensors)),
        }
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.tensors.items()}
        save_file(tensors, path, metadata=described)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Patterns:
        """Read what `save` wrote. Raises InvalidInput for a file that it did not write."""
        path = _checked(path)
        if not path.exists():
            raise InvalidInput(f"no file {path}")
        try:
            with safe_open(path, framework="pt") as stored:
                described = stored.metadata() or {}
                if described.get("format") != FORMAT:
                    raise InvalidInput(f"{path} does not hold patterns that relprop saved")
                names = json.loads(described["layers"])
                tensors = {name: stored.get_tensor(name) for name in names}
                return cls(tensors, described["estimator"], int(described["samples"]))
        except (SafetensorError, KeyError, ValueError) as error:
            raise InvalidInput(f"{path} is no file of patterns: {error}") from error

    def of(self, name: str, weight: Tensor) -> Tensor:
        """The pattern of a layer beside its weight. Raises StoreMismatch where they don't fit."""
        found = self.tensors.get(name)
        if found is None or found.shape != weight.shape:
            given = "none" if found is None else str(tuple(found.shape))
            raise StoreMismatch(
                f"the patterns are of another model: layer {name!r} has weights of "
                f"{tuple(weight.shape)}, the pattern is {given}; learn them from this model"
            )
        return found.to(weight)


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InvalidInput(f"patterns are saved as .safetensors, got {path.name!r}")
    return path
