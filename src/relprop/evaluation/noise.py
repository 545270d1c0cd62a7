"""Noise by counters: a number depends on seed, image, repeat and place, and on nothing else.

So it is the same for every method, in any order of images, in batches of any size, on any device
and after an interruption, and it is made for many images at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import seed_number, whole_number


def _signed(word: int) -> int:
    """64 bits as torch holds them."""
    word %= 2**64
    return word - 2**64 if word >= 2**63 else word


GOLDEN = _signed(0x9E3779B97F4A7C15)
FIRST = _signed(0xBF58476D1CE4E5B9)
SECOND = _signed(0x94D049BB133111EB)

# Numbers for different uses never share a stream.
VALUES, ANGLES, ORDER, TIES = 1, 2, 3, 4

_ELEMENTS = 2**22  # of int64 at a time, when images are read


def mixed(words: Tensor) -> Tensor:
    """The output function of splitmix64 (Steele et al. 2014): int64 -> int64, one to one."""
    return _mix(words.clone())


def _mix(words: Tensor) -> Tensor:
    """The same, in place."""
    for shift, factor in ((30, FIRST), (27, SECOND)):
        words ^= _shifted(words, shift)
        words *= factor
    words ^= _shifted(words, 31)
    return words


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Shifted to the right, filled with zeros: torch would fill with the sign."""
    return (words >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def image_keys(images: Tensor) -> Tensor:
    """A number for each image `[N, ...]`, int64 `[N]`, made of its values as float32.

    Equal images have equal keys, wherever they stand; other images have other keys (but for one
    chance in about 2^63 a pair).
    """
    width = images[0].numel()
    places = torch.arange(1, width + 1, device=images.device) * GOLDEN
    factors = mixed(places) | 1
    rows = max(1, _ELEMENTS // width)
    sums = []
    for part in images.flatten(1).split(rows):
        bits = (part.float() + 0.0).view(torch.int32)  # + 0.0: minus zero equals zero
        sums.append((bits.long() * factors).sum(1))
    return mixed(torch.cat(sums))


def run_seeds(keys: Tensor, repeats: int, seed: int) -> Tensor:
    """A seed for each repeat and image, int64 `[repeats, N]`, from the images' keys `[N]`.

    Raises InvalidInput for numbers that are no integers.
    """
    whole_number(repeats, "repeats")
    start = mixed(torch.tensor([seed_number(seed)], device=keys.device) * GOLDEN)
    repeat = torch.arange(1, repeats + 1, device=keys.device)[:, None] * GOLDEN
    return mixed(mixed(keys + start)[None] + repeat)


def words(seeds: Tensor, count: int, stream: int) -> Tensor:
    """64 random bits a place, int64 `[P, count]`, for the seeds `[P]`: a splitmix64 for each."""
    start = mixed(seeds + _signed(stream * FIRST))[:, None]
    return _mix(start + torch.arange(1, count + 1, device=seeds.device) * GOLDEN)


def uniform(seeds: Tensor, count: int, stream: int = VALUES) -> Tensor:
    """Numbers in [0, 1), float32 `[P, count]`, multiples of 2^-24, for the seeds `[P]`."""
    bits = words(seeds, count, stream).bitwise_right_shift_(40).bitwise_and_(2**24 - 1)
    return bits.float().mul_(2.0**-24)


def normal(seeds: Tensor, count: int) -> Tensor:
    """Numbers of mean 0 and variance 1, float32 `[P, count]` (Box and Muller 1958)."""
    radius = (-2 * (1 - uniform(seeds, count, VALUES)).log()).sqrt()
    return radius * (2 * math.pi * uniform(seeds, count, ANGLES)).cos()


def generator(seed: int, device: torch.device) -> torch.Generator:
    """A generator of torch for one run, for fills that draw by themselves."""
    return torch.Generator(device).manual_seed(seed & (2**63 - 1))
