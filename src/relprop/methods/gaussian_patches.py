"""A Gaussian model of small image patches: draw the inside of one given what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from ..errors import InvalidInput

MOST = 50_000  # patches that the model is fitted to
TOGETHER = 2**22  # numbers at a time
SMALLEST = 1e-12
RIDGE = 1e-4  # of the mean variance, so that directions without any can be inverted
Place = tuple[int, int]


@dataclass(eq=False)
class PatchGaussian:
    """Mean and covariance of patches `[C, size, size]`, the same all over the image.

    `low`, `high`: `[C]`, the range of the data. Made by `fit_patches`.
    """

    size: int
    mean: Tensor  # [C size size]
    covariance: Tensor
    low: Tensor
    high: Tensor
    _conditionals: dict[tuple[Place, int], tuple[Tensor, Tensor, Tensor, Tensor]] = field(
        default_factory=dict, repr=False
    )

    @property
    def channels(self) -> int:
        return len(self.low)

    def draw(self, surround: Tensor, place: Place, inner: int, noise: Tensor) -> Tensor:
        """`[N, S, C, inner, inner]`: the square at `place` of patches `[N, C, size, size]`, drawn
        given the rest of each; `noise` is standard normal, `[S, C inner inner]`.
        """
        inside, outside, gain, root = self._conditional(place, inner)
        flat = surround.double().flatten(1)
        expected = self.mean[inside] + (flat[:, outside] - self.mean[outside]) @ gain.mT
        drawn = expected[:, None] + (noise.double() @ root.mT)[None]
        found = drawn.reshape(len(flat), len(noise), self.channels, inner, inner)
        limits = [t.double().reshape(-1, 1, 1) for t in (self.low, self.high)]
        return found.clamp(*limits).to(surround)

    def _conditional(self, place: Place, inner: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which components are inside and outside, their regression, and a root of the covariance
        that is left.
        """
        if (place, inner) not in self._conditionals:
            row, column = place
            mask = torch.zeros(self.channels, self.size, self.size, dtype=torch.bool)
            mask[:, row : row + inner, column : column + inner] = True
            inside, outside = (m.flatten().nonzero().flatten() for m in (mask, ~mask))
            cross = self.covariance[inside][:, outside]
            factor = torch.linalg.cholesky(self.covariance[outside][:, outside])
            gain = torch.cholesky_solve(cross.mT, factor).mT
            left = self.covariance[inside][:, inside] - gain @ cross.mT
            values, vectors = torch.linalg.eigh((left + left.mT) / 2)
            root = vectors * values.clamp(min=0).sqrt()
            self._conditionals[place, inner] = inside, outside, gain, root
        return self._conditionals[place, inner]


def fit_patches(images: Tensor, size: int, *, seed: int = 0) -> PatchGaussian:
    """Fit the Gaussian to patches of this size from all over images `[N, C, H, W]`.

    At most 50,000 patches, drawn with `seed`, are used; there should be more of them than
    components. Raises InvalidInput for images that are smaller than a patch.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        raise InvalidInput("patches are fitted to real-valued images [N, C, H, W]")
    height, width = images.shape[2:]
    if min(height, width) < size:
        raise InvalidInput(f"images of {height} x {width} are smaller than patches of {size}")
    images = images.detach().cpu()
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # [N, C, rows, columns, size, size]
    shape = (len(images), *windows.shape[2:4])
    places = prod(shape)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.arange(places)
    if places > MOST:
        chosen = torch.randperm(places, generator=generator)[:MOST]
    first = torch.zeros(images.shape[1] * size**2, dtype=torch.float64)
    second = torch.zeros(len(first), len(first), dtype=torch.float64)
    middle = images.double().mean((0, 2, 3), keepdim=True)[0, :, :, 0]  # against cancellation
    for part in chosen.split(max(1, TOGETHER // len(first))):
        sample, row, column = torch.unravel_index(part, shape)
        flat = (windows[sample, :, row, column].double() - middle[..., None]).flatten(1)
        first += flat.sum(0)
        second += flat.mT @ flat
    mean = first / len(chosen)
    covariance = second / len(chosen) - mean[:, None] * mean
    covariance.diagonal().add_(RIDGE * covariance.diagonal().mean().clamp(min=SMALLEST))
    mean = mean + middle.expand(-1, size**2).flatten()
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
    return PatchGaussian(size, mean, covariance, low, high)
