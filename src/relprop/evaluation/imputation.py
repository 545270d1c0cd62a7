"""Noisy linear imputation (ROAD; Rong et al. 2022): missing pixels are what their neighbours say.

A missing pixel is the weighted mean of its eight neighbours, direct ones with twice the weight of
diagonal ones; missing neighbours are unknown themselves, so that all are solved for together. A
little noise is added: a smooth patch would itself tell where something was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .noise import normal

NEIGHBOURS = "noisy-linear"
NOISE = 0.01  # standard deviation, in widths of the data's range

DIRECTLY = 4096  # as many missing pixels are solved for by a factorisation

_TOLERANCE = 1e-4  # of the residual's norm, over that of the right-hand side
_ELEMENTS = 2**23  # iterated on at a time
_PATIENCE = 8  # iterations between looks at the residual


class NoisyLinear:
    """The fill for all steps of a run. The last image's solution is kept for its next repeat."""

    def __init__(self, widths: Tensor) -> None:
        """`widths` of the data's range, `[C]`."""
        self._widths = widths
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, image: Tensor, masks: Tensor, seed: int) -> Tensor:
        """`[C, H, W]`, bool `[L, H, W]` -> `[L, C, H, W]`; noise is the same in all steps."""
        seeds = torch.tensor([seed], device=image.device)
        noise = normal(seeds, image.numel()).to(image.dtype).view_as(image)
        return self._solution(image, masks) + NOISE * self._widths.view(-1, 1, 1) * noise

    def _solution(self, image: Tensor, masks: Tensor) -> Tensor:
        if self._last is not None:
            known, same, solution = self._last
            if same.shape == masks.shape and torch.equal(known, image) and torch.equal(same, masks):
                return solution
        self._last = image, masks, imputed(image, masks)
        return self._last[2]


def imputed(image: Tensor, masks: Tensor) -> Tensor:
    """`[C, H, W]` with the pixels of each mask, bool `[L, H, W]`, solved for: `[L, C, H, W]`.

    Each mask contains the one before it. Where everything is missing, each channel is its mean.
    """
    mean = image.mean((1, 2), keepdim=True)
    found = torch.where(masks[:, None], mean, image)
    parts = masks[: int((~masks.flatten(1).all(1)).sum())]
    if len(parts):
        missing = parts[:, None].to(image.dtype)
        given = _from_neighbours(image * (1 - missing)).mul_(missing)
        if int(parts[-1].sum()) <= DIRECTLY:
            values = _by_factors(given, parts)
        else:
            together = max(1, _ELEMENTS // image.numel())
            pieces = (piece.split(together) for piece in (given, missing))
            values = torch.cat(
                [_by_iteration(b, m, m * mean) for b, m in zip(*pieces, strict=True)]
            )
        found[: len(parts)] = torch.where(parts[:, None], values, image)
    return found


def _by_factors(given: Tensor, masks: Tensor) -> Tensor:
    """The v, zero outside of the masks, that is `given` more than its neighbours say there.

    With pixels in the order in which they went, the equations of a step are the first ones of the
    last step, and so are their Cholesky factors: one factorisation serves all. What has not gone
    yet is zero in the right-hand sides, between the two substitutions, and so in the solution.
    """
    height, width = masks.shape[1:]
    order = (~masks).sum(0).flatten().argsort(stable=True)[: int(masks[-1].sum())]
    factor = torch.linalg.cholesky(_equations(order, height, width))
    right = given.flatten(2)[:, :, order].double().flatten(0, 1).T
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    half *= masks.flatten(1)[:, order].repeat_interleave(given.shape[1], 0).T
    solved = torch.linalg.solve_triangular(factor.T, half, upper=True)
    values = torch.zeros_like(given).flatten(2)
    values[:, :, order] = solved.T.reshape(*given.shape[:2], -1).to(given.dtype)
    return values.view_as(given)


def _equations(pixels: Tensor, height: int, width: int) -> Tensor:
    """The sum of a pixel's weights on the diagonal, less the weights between pixels, float64."""
    count, device = len(pixels), pixels.device
    own = torch.arange(count, device=device)
    number = torch.full((height + 2, width + 2), count, device=device)
    rows, columns = pixels // width + 1, pixels % width + 1
    number[rows, columns] = own
    matrix = torch.zeros(count, count + 1, dtype=torch.float64, device=device)
    for down, right in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j):
        beside = number[
            rows + down, columns + right
        ]  # in the last column: not missing, or no pixel
        matrix[own, beside] = -(2 - abs(down)) * (2 - abs(right)) / 12
    weights = _from_neighbours(torch.ones(height, width, dtype=torch.float64, device=device))
    matrix[own, own] = weights.flatten()[pixels]
    return matrix[:, :count]


def _by_iteration(given: Tensor, missing: Tensor, values: Tensor) -> Tensor:
    """The same by conjugate gradients, for more pixels than can be factorised.

    `values` are where to start, and are overwritten.
    """
    weight = _from_neighbours(torch.ones_like(given[:1, :1]))  # less than 1 at the edges
    tiny = torch.finfo(given.dtype).tiny

    def applied(direction: Tensor) -> Tensor:
        return (weight * direction).sub_(_from_neighbours(direction)).mul_(missing)

    residual = given - applied(values)
    direction = residual.clone()
    length = _products(residual, residual)
    enough = _TOLERANCE**2 * _products(given, given)
    for iteration in range(1, 10 * (given.shape[2] + given.shape[3])):
        image_of = applied(direction)
        stride = length / _products(direction, image_of).clamp(min=tiny)
        values.addcmul_(stride, direction)
        residual.addcmul_(stride, image_of, value=-1)
        before, length = length, _products(residual, residual)
        if iteration % _PATIENCE == 0 and bool((length <= enough).all()):
            break
        direction.mul_(length / before.clamp(min=tiny)).add_(residual)
    return values


def _products(first: Tensor, second: Tensor) -> Tensor:
    return torch.einsum("lchw,lchw->lc", first, second)[..., None, None]


def _from_neighbours(values: Tensor) -> Tensor:
    """At each pixel of `[..., H, W]`, the weighted sum of what stands around it.

    Weights 1 2 1 along rows, then along columns, less the pixel itself, over twelve.
    """
    across = 2 * values
    across[..., 1:] += values[..., :-1]
    across[..., :-1] += values[..., 1:]
    around = 2 * across
    around[..., 1:, :] += across[..., :-1, :]
    around[..., :-1, :] += across[..., 1:, :]
    return around.sub_(values, alpha=4).div_(12)
