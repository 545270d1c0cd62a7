"""Meaningful perturbation: the smallest smooth region whose blurring takes the output away (Fong
and Vedaldi 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InvalidInput
from ..result import Explanation
from .options import amount, whole_number
from .registry import register
from .subject import Subject, explained, image_of

METHOD = "meaningful-perturbation"
POWER = 3  # of the differences in the total variation
ROUNDED = 1e-6  # of the scores: a smaller change is none
SHARP = 1e-12  # keeps the slope of the total variation finite where nothing varies


@register(METHOD, question="sampling", cost="`steps`")
def meaningful_perturbation(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    class_axis: int = -1,
    steps: int = 150,
    rate: float = 0.1,
    cells: int = 28,
    sparsity: float = 1.5,
    smoothness: float = 10.0,
    blur: float | None = None,
    jitter: int = 2,
    seed: int = 0,
) -> Explanation:
    """Where an image must be blurred for the output to go, found by learning a mask.

    A question by sampling, with optimisation. A mask m of `cells` x `cells` (1: kept, 0:
    blurred) is learned by Adam (`steps` of `rate`) to minimise
    [f(m x + (1 - m) blur(x)) - f(blur(x))]+ / |f(x) - f(blur(x))| + `sparsity` mean(1 - m) +
    `smoothness` TV(m), where TV is the mean of cubed differences between neighbours. `blur`: the
    standard deviation in positions (None: a twentieth of the longer side, 3 at least); `jitter`: by
    how many positions the image is shifted under the mask at random, with `seed`. Relevance is 1 -
    m, shared evenly among the channels: from 0 to 1, without a sign. Images `[N, C, H, W]` only.
    Cost: a gradient a step.

    Raises InvalidInput; for an image that its blur does not change (f(x) = f(blur(x))), too.
    """
    for name, number in (("steps", steps), ("cells", cells)):
        whole_number(METHOD, name, number)
    for name, number in (("jitter", jitter), ("seed", seed)):
        whole_number(METHOD, name, number, least=0)
    chosen = Learning(
        steps,
        amount(METHOD, "rate", rate),
        amount(METHOD, "sparsity", sparsity),
        amount(METHOD, "smoothness", smoothness),
        jitter,
        seed,
    )

    def maps(subject: Subject, weights: Tensor) -> list[Tensor]:
        x = image_of(subject, METHOD)
        sigma = max(max(x.shape[2:]) / 20, 3.0) if blur is None else amount(METHOD, "blur", blur)
        blurred = blurred_images(x, sigma)
        size = tuple(min(cells, side) for side in x.shape[2:])
        mask = learn_mask(subject, weights, x, blurred, size, chosen)
        return [((1 - mask) / x.shape[1]).expand(x.shape)]

    return explained(model, inputs, target, class_axis, maps, method=METHOD)


@dataclass(frozen=True)
class Learning:
    """How a mask is learned; the options of the method."""

    steps: int
    rate: float
    sparsity: float
    smoothness: float
    jitter: int
    seed: int


def learn_mask(
    subject: Subject,
    weights: Tensor,
    x: Tensor,
    blurred: Tensor,
    size: tuple[int, ...],
    learning: Learning,
) -> Tensor:
    """`[N, 1, H, W]`: the mask of each image, learned at `size`; 1 where the image is kept."""
    gone = subject.score([blurred], weights)
    score = subject.score([x], weights)
    fall = (score - gone).abs()
    unmoved = fall <= ROUNDED * (score.abs() + gone.abs())
    if bool(unmoved.any()):
        raise InvalidInput(
            f"method {METHOD!r}: blurring changes nothing in the output of sample "
            f"{int(unmoved.nonzero()[0])}; a larger blur= may"
        )
    mask = torch.ones(len(x), 1, *size, dtype=x.dtype, device=x.device, requires_grad=True)
    optimiser = torch.optim.Adam([mask], lr=learning.rate)
    generator = torch.Generator().manual_seed(learning.seed)
    span = (-learning.jitter, learning.jitter + 1)
    for _ in range(learning.steps):
        shift = tuple(torch.randint(*span, (2,), generator=generator).tolist())
        near, far = (torch.roll(t, shift, (2, 3)) for t in (x, blurred))
        with torch.enable_grad():
            wide = _enlarged(mask, x)
            price = learning.sparsity * _mean(1 - mask) + learning.smoothness * variation(mask)
        score, (slope,) = subject.gradient([far + wide.detach() * (near - far)], weights)
        asks = (score > gone).to(x) / fall  # nothing more is to be had below the blurred image
        pull = (slope * (near - far)).sum(1, keepdim=True) * asks.reshape(-1, 1, 1, 1)
        with torch.enable_grad():
            total = price.sum() + (wide * pull).sum()
        (mask.grad,) = torch.autograd.grad(total, mask)
        optimiser.step()
        mask.clamp_(0, 1)
    return _enlarged(mask.detach(), x)


def variation(mask: Tensor) -> Tensor:
    """`[N]`: the mean of cubed differences between neighbours, down and across."""
    down, across = mask.diff(dim=2), mask.diff(dim=3)
    powers = [(d.square() + SHARP).pow(POWER / 2) for d in (down, across) if d.numel()]
    found = torch.stack([_mean(power) for power in powers])
    return found.sum(0)


def blurred_images(x: Tensor, sigma: float) -> Tensor:
    """Images convolved with a Gaussian of this standard deviation; edges are repeated outwards."""
    if sigma == 0:
        return x.clone()
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = (-(places**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    down = functional.conv2d(padded, kernel[..., None], groups=x.shape[1])
    return functional.conv2d(down, kernel[:, :, None], groups=x.shape[1])


def _enlarged(mask: Tensor, x: Tensor) -> Tensor:
    return functional.interpolate(mask, x.shape[2:], mode="bilinear", align_corners=False)


def _mean(tensor: Tensor) -> Tensor:
    return tensor.flatten(1).mean(1)
