"""What is read of a model's scores: that of the target, and which class is predicted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..errors import InvalidInput, InvalidTarget, UnknownName

OUTPUTS = ("logit", "probability")


class Reading:
    """Scores `[B, K]` -> that of each sample's target and the predicted class, both `[B]`."""

    def __init__(self, begun: Tensor, target: Tensor, output: str) -> None:
        """`begun` are the scores of the samples as they were, `[N, K]`; `target` is `[N]`.

        Raises UnknownName for another output, InvalidInput for a probability of a single score.
        """
        if output not in OUTPUTS:
            raise UnknownName("output", output, OUTPUTS)
        if output == "probability" and begun.shape[1] == 1:
            raise InvalidInput(
                "the model has one score, whose softmax is always 1; use output='logit'"
            )
        self.target, self._begun, self._output = target, begun, output

    def __call__(self, scores: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """`image` `[B]` says whose scores they are."""
        predicted = _predicted(scores).to(torch.int32)
        if self._output == "probability":
            scores = scores.softmax(1)
        return scores.gather(1, self.target[image][:, None])[:, 0], predicted

    def at_start(self) -> tuple[Tensor, Tensor]:
        """The same of the samples as they were, `[N]`."""
        return self(self._begun, torch.arange(len(self._begun), device=self._begun.device))


def _predicted(scores: Tensor) -> Tensor:
    """The class of the largest score; for a single score, whether it is positive."""
    return scores.argmax(1) if scores.shape[1] > 1 else scores[:, 0] > 0


def as_scores(result: Any, samples: int) -> Tensor:
    """What a model returned as `[B, K]`, float32 or float64; `[B]` is one score a sample.

    Raises InvalidInput for anything else.
    """
    found = result if isinstance(result, Tensor) else torch.as_tensor(result)
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or len(found) != samples or not found.is_floating_point():
        raise InvalidInput(
            f"the model returned {found.dtype} {list(found.shape)} for {samples} samples; it must "
            "return one row of scores for each, floats [N, K]: wrap it, as in "
            "lambda images: model(images).logits"
        )
    return found.detach() if found.dtype == torch.float64 else found.detach().float()


def read_target(begun: Tensor, target: Any) -> Tensor:
    """The class of each sample, int64 `[N]`: the predicted one for None, else as given.

    Raises InvalidTarget for classes that do not exist, and for the wrong number of them.
    """
    samples, classes = begun.shape
    if target is None:
        return begun.argmax(1)
    try:
        found = torch.as_tensor(target, device=begun.device)
    except (TypeError, ValueError, RuntimeError):
        found = None
    whole = found is not None and not (found.is_floating_point() or found.dtype == torch.bool)
    if found is None or not whole or found.ndim > 1 or (found.ndim and len(found) != samples):
        raise InvalidTarget(
            f"target is {target!r}; it must be None (the predicted class), a class, or one class "
            f"for each of the {samples} samples"
        )
    found = found.long().expand(samples)
    if int(found.min()) < 0 or int(found.max()) >= classes:
        raise InvalidTarget(
            f"classes lie in 0..{classes - 1}; target has {int(found.min())}..{int(found.max())}"
        )
    return found.contiguous()


def check_model(model: Any) -> None:
    """Refuse what cannot be called, and a network whose dropout or batch statistics are active."""
    if not callable(model):
        raise InvalidInput(f"the model must be callable, got {type(model).__name__}")
    if not isinstance(model, nn.Module):
        return
    for name, module in model.named_modules():
        if module.training and isinstance(module, (_DropoutNd, _BatchNorm)):
            raise InvalidInput(
                f"the model is in training mode: {name or 'the model'!r} "
                f"({type(module).__name__}) would disturb its scores; call model.eval() first"
            )


def place_of(model: Any, images: Tensor) -> tuple[torch.device, torch.dtype]:
    """Device and number type that a model takes: its own, for a network, else the images'."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            if parameter.is_floating_point():
                return parameter.device, parameter.dtype
    return images.device, images.dtype
