"""Region perturbation as one would write it down: one image, repeat, step and pixel at a time.

The noise is splitmix64 in Python's own integers.
"""

import numpy as np
import torch

MASK = 2**64 - 1
GOLDEN, FIRST = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
VALUES, ORDER, TIES = 1, 3, 4


def mixed(word):
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


def image_key(image):
    total = 0
    for place, value in enumerate(np.asarray(image, np.float32).ravel(), 1):
        bits = int((value + np.float32(0)).view(np.int32))
        total += bits * (mixed(place * GOLDEN & MASK) | 1)
    return mixed(total & MASK)


def run_seed(key, repeat, seed):
    start = mixed(key + mixed(seed * GOLDEN & MASK) & MASK)
    return mixed(start + (repeat + 1) * GOLDEN & MASK)


def words(seed, count, stream):
    start = mixed(seed + stream * FIRST & MASK)
    return [mixed(start + place * GOLDEN & MASK) for place in range(1, count + 1)]


def signed(word):
    return word - 2**64 if word >= 2**63 else word


def shuffled(seed, count, stream):
    drawn = [signed(word) for word in words(seed, count, stream)]
    return sorted(range(count), key=drawn.__getitem__)


def uniform(seed, shape, low, high):
    """float32, channel by channel in its own range."""
    drawn = [word >> 40 for word in words(seed, int(np.prod(shape)), VALUES)]
    values = np.array(drawn, np.float32).reshape(shape) * np.float32(2.0**-24)
    low, high = (np.asarray(bound, np.float32)[:, None, None] for bound in (low, high))
    return values * (high - low) + low


def region_slices(height, width, side):
    top, left = height % side // 2, width % side // 2
    return [
        (slice(row, row + side), slice(column, column + side))
        for row in range(top, top + height // side * side, side)
        for column in range(left, left + width // side * side, side)
    ]


def region_order(heatmap, slices, order, *, image_seed, seed):
    if order == "random":
        return shuffled(seed, len(slices), ORDER)
    sums = [float(heatmap[place].astype(np.float64).sum()) for place in slices]
    sign = -1 if order == "morf" else 1
    tied = shuffled(image_seed, len(slices), TIES)
    return sorted(tied, key=lambda region: sign * sums[region])


def perturbed_images(
    image, heatmap, *, region, steps, order, fill, repeat, per_step, low, high, seed=0
):
    """The image after every step, [C, H, W] each."""
    key = image_key(image)
    drawn, first = run_seed(key, repeat, seed), run_seed(key, 0, seed)
    slices = region_slices(*image.shape[1:], region)
    goes = region_order(heatmap, slices, order, image_seed=first, seed=drawn)
    if fill == "uniform":
        values = uniform(drawn, image.shape, low, high)
    elif fill == "mean":
        values = np.broadcast_to(image.mean((1, 2), keepdims=True), image.shape)
    elif fill == "flip":
        values = -image
    else:
        values = np.full(image.shape, fill, np.float32)
    current = image.copy()
    yield current
    for step in range(steps):
        current = current.copy()
        for chosen in goes[step * per_step : (step + 1) * per_step]:
            place = (slice(None), *slices[chosen])
            current[place] = values[place]
        yield current


def scores(f, images, heatmaps, *, repeats, **options):
    """`[repeats, N, steps + 1]` of the class predicted at first."""
    found = []
    for repeat in range(repeats):
        rows = []
        for image, heatmap in zip(images.numpy(), heatmaps.numpy(), strict=True):
            path = perturbed_images(image, heatmap, repeat=repeat, **options)
            outputs = [f(torch.from_numpy(np.ascontiguousarray(x))[None])[0] for x in path]
            target = int(outputs[0].argmax())
            rows.append([float(output[target]) for output in outputs])
        found.append(rows)
    return torch.tensor(found, dtype=torch.float64)
