"""Box: the lowest and highest values that inputs can have, shaped like the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...errors import InvalidRule


def bounds(low: Any, high: Any, like: Sequence[Tensor], preprocessing: Any) -> list[list[Tensor]]:
    """The lowest and the highest inputs: as given, or as the preprocessing of the model says."""
    if low is None:
        if not hasattr(preprocessing, "low") or not hasattr(preprocessing, "high"):
            raise InvalidRule(
                "Box: the bounds of the input are unknown; give them, Box(low, high), as the "
                "preprocessed values of black and white per channel ((0 - mean)/std and "
                "(1 - mean)/std), or set model.preprocessing with low and high"
            )
        low, high = preprocessing.low, preprocessing.high
    return [[shaped(bound, x) for x in like] for bound in (low, high)]


def shaped(bound: Any, x: Tensor) -> Tensor:
    """A number, or one value per channel (axis 1), in the shape of x."""
    listed = tuple(bound) if isinstance(bound, (list, tuple)) else bound
    if isinstance(listed, (int, float, tuple)):
        tensor = _sent(listed, x.dtype, x.device)
    else:
        tensor = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
    if tensor.ndim == 1 and tensor.numel() > 1 and x.ndim > 1:
        if x.shape[1] != tensor.numel():
            raise InvalidRule(
                f"Box: {tensor.numel()} bounds for an input with {x.shape[1]} channels"
            )
        tensor = tensor.reshape(-1, *[1] * (x.ndim - 2))
    try:
        return tensor.expand(x.shape)
    except RuntimeError:
        raise InvalidRule(
            f"Box: bounds of shape {tuple(tensor.shape)} do not fit an input of shape "
            f"{tuple(x.shape)}"
        ) from None


@lru_cache(maxsize=64)
def _sent(numbers: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers on a device, sent there once."""
    return torch.tensor(numbers, dtype=dtype, device=device)
