"""Taylor decomposition: the first-order terms of f at a root point (thesis 2.18-2.20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InvalidInput
from ..propagation.lrp import Options, explain_run, find_route
from ..propagation.record import record
from ..result import Explanation
from .registry import register
from .roots import Search, descend, towards
from .subject import Subject, explained


@register("taylor", question="attribution", cost="1, and 1 for each step of the root search")
def taylor(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    root: Any = None,
    candidates: Any = None,
    steps: int = 50,
    tolerance: float = 1e-3,
) -> Explanation:
    """R_i = df/dx_i(x0) (x_i - x0_i) at a root x0 of f, f(x0) = 0 (thesis 2.18-2.20).

    A question about attribution, relative to the root; what the first order leaves is reported
    in the notes. The root is `root`, in the structure of the inputs and broadcast to them; or the
    point where f changes its sign on the line from x to the nearest of `candidates` (`[K, ...]`, in
    the structure of the inputs) on the other side; or it is searched along the gradient, with at
    most `steps` steps. A root has |f(x0)| <= `tolerance` |f(x)|. Relevance is shaped like the
    inputs. Cost: the search, one gradient a step, and one gradient.

    Raises NoRootFound, and InvalidInput for roots and candidates that do not fit the inputs.
    """
    search = Search(steps, tolerance)
    if root is not None and candidates is not None:
        raise InvalidInput("give root= or candidates=, not both")

    def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
        x = subject.floats
        if root is not None:
            x0 = _beside(root, x, "root", expand=True)
        elif candidates is not None:
            x0 = towards(subject, weights, _beside(candidates, x, "candidates"), search)
        else:
            x0 = descend(subject, weights, search)
        score = subject.score(x, weights)
        at_root, gradients = subject.gradient(x0, weights)
        found = [g * (one - zero) for g, one, zero in zip(gradients, x, x0, strict=True)]
        subject.notes.append(_residual(score, at_root, found))
        return found

    return explained(model, inputs, target, class_axis, maps, method="taylor")


@register("deep-taylor", question="attribution", cost="about 2")
def deep_taylor(
    model: Any, inputs: Any, target: Any = None, *, class_axis: int = -1
) -> Explanation:
    """Deep Taylor decomposition (Montavon et al. 2017): LRP with the preset "deep-taylor".

    A question about attribution: a Taylor decomposition of every neuron at a root of its own,
    ZPlus inside and WSquare at the input. Relevance is shaped like the inputs. Cost: about two
    gradients. Raises as `relprop.explain`.
    """
    options = Options("deep-taylor", class_axis=class_axis)
    with torch.inference_mode(False), torch.no_grad():
        recording = record(model, inputs, layers=())
        route = find_route(recording, options)
        found = explain_run(recording, route, target, options, release=True)
    return replace(found, method="deep-taylor")


def _beside(
    given: Any, inputs: Sequence[Tensor], name: str, *, expand: bool = False
) -> list[Tensor]:
    """A tensor for each of the inputs, of any number of samples or expanded to theirs."""
    entries = [leaf for leaf in pytree.tree_leaves(given) if leaf is not None]
    if len(entries) != len(inputs):
        raise InvalidInput(
            f"{name}= has {len(entries)} tensors for {len(inputs)} real-valued inputs"
        )
    found = []
    for entry, x in zip(entries, inputs, strict=True):
        tensor = torch.as_tensor(entry).detach().to(x)
        try:
            fits = tensor.expand(x.shape) if expand else tensor.expand(-1, *x.shape[1:])
        except RuntimeError:
            wanted = tuple(x.shape) if expand else ("K", *x.shape[1:])
            raise InvalidInput(
                f"{name}= of shape {tuple(tensor.shape)} does not fit inputs of {wanted}"
            ) from None
        found.append(fits)
    return found


def _residual(score: Tensor, at_root: Tensor, maps: Sequence[Tensor]) -> str:
    total = torch.stack([m.reshape(len(score), -1).sum(1) for m in maps]).sum(0)
    scale = score.abs().clamp(min=1e-30)
    left = ((score - total).abs() / scale).max()
    return (
        f"the terms of first order leave at most {float(left):.1e} of f(x); "
        f"|f(root)| is at most {float((at_root.abs() / scale).max()):.1e} of |f(x)|"
    )
