"""Our methods with the signature that another library asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .scores import place_of

Explain = Callable[[Any, Tensor, Tensor], Any]


def quantus_explain_func(explain: Explain) -> Callable[..., NDArray[np.floating]]:
    """What Quantus takes as `explain_func`, from a function (model, inputs, target) -> heatmaps.

    Quantus calls it with numpy arrays: inputs `[N, C, H, W]`, a class for each; heatmaps
    `[N, H, W]` or `[N, C, H, W]` come back as numpy arrays. With relprop's methods:
    `quantus_explain_func(lambda model, x, y: relprop.explain(model, x, y).relevance)`.
    """

    def explain_func(
        model: nn.Module, inputs: Any, targets: Any, **options: Any
    ) -> NDArray[np.floating]:
        given = torch.as_tensor(np.asarray(inputs))
        device, dtype = place_of(model, given)
        classes = torch.as_tensor(np.asarray(targets)).long().to(device)
        found = explain(model, given.to(device, dtype), classes)
        return torch.as_tensor(found).detach().cpu().numpy()

    return explain_func
