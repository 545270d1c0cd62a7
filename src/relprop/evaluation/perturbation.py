"""Region perturbation: how fast does the score fall where the heatmap is followed?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import InvalidInput, UnknownName
from .checks import whole_number
from .curve import Curve
from .fills import OwnFill, ValueRange, make_fill
from .noise import image_keys, run_seeds
from .perturbed import Perturbed
from .regions import ORDERS, Grid, in_order, regions_a_step
from .runs import perturbation_curve
from .scores import check_model, place_of

Array = ArrayLike | Tensor
Bound = float | Sequence[float] | Tensor


def region_perturbation(
    f: Callable[[Tensor], Any],
    images: Array,
    heatmaps: Array | None,
    *,
    region: int = 9,
    steps: int | None = 100,
    order: str = "morf",
    fill: str | float | OwnFill = "uniform",
    repeats: int = 10,
    per_step: int | float = 1,
    target: Any = None,
    output: str = "logit",
    value_range: tuple[Bound, Bound] | None = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = False,
    resume: str | Path | None = None,
) -> Curve:
    """Replace the regions of each image one after another, in the order of their relevance, and
    follow the score (thesis 3.4, eq. 3.4-3.7; Samek et al. 2017).

    - f: images `[B, C, H, W]` -> scores `[B, K]` (or `[B]`), called without gradients; the next
      batch stands in the same memory
    - images: `[N, C, H, W]`; a network gets them on its device and in its number type
    - heatmaps: relevance `[N, H, W]`, channels pooled; may be None for order "random"
    - region: side of the regions in pixels. They lie on a grid in the middle of the image; pixels
      at the edges that fill none are never touched, which `notes` says
    - steps: how often is replaced; None for until nothing is left. More than there are regions for
      is an error, since areas over different numbers of steps do not compare
    - order: "morf" (most relevant first), "lerf" (least relevant first) or "random" (drawn for each
      image and repeat). Regions of equal relevance go in an order drawn for the image
    - fill: what is put in. "uniform": anew for each pixel and channel, within the data's range;
      a number; "mean" of the image's channel; "blur" by a Gaussian of one region's side;
      "noisy-linear" from the pixels around what is missing (ROAD; Rong et al. 2022); "flip" of the
      sign, for pixels that are -1 or 1 (fig. 3.4); or a function of (images `[L, C, H, W]`, masks
      `[L, H, W]`, generator) that is given all steps of one image and returns images: the masks say
      what is missing after each step, and only there its answer is used
    - repeats: how often, with fresh noise. A fill without noise is computed once
    - per_step: regions that go at once; a float below 1 is a share of all regions
    - target: the class whose score is followed, one for all or one each; None is the class
      predicted for the unperturbed image
    - output: "logit", the score as f gives it, or "probability", its softmax
    - value_range: (lowest, highest) value of the data, numbers or one for each channel; by default
      that of `images`, so give it where parts of a data set are to share their noise
    - batch_size: images in a forward pass; on a CPU, 64 is often faster
    - resume: a folder that keeps finished batches. The same call goes on where it was stopped, and
      gives the same numbers to the last bit

    The noise of an image depends on its pixels, the repeat, the place and `seed`: not on the batch,
    the order of images, or the heatmap, so curves of several methods share it and can be compared
    pair by pair (`Curve.over`).

    Raises InvalidInput for images, heatmaps or numbers that do not fit, UnknownName for an unknown
    order, fill or output, InvalidTarget, StoreMismatch for a folder of another run, RelpropError
    where progress is asked for and tqdm is missing.
    """
    check_model(f)
    pixels = _as_images(images, *_place(f, images))
    grid = Grid(pixels.shape[2], pixels.shape[3], whole_number(region, "region"))
    maps = _as_heatmaps(heatmaps, pixels, order)
    together = regions_a_step(per_step, grid.count)
    goes = _regions_that_go(steps, together, grid)
    values = _value_range(pixels, value_range)
    made = make_fill(fill, values, grid.side)
    if isinstance(fill, str) and fill == "flip":
        _check_signs(pixels)
    keys = image_keys(pixels)
    seeds = run_seeds(keys, whole_number(repeats, "repeats"), seed)
    sums = grid.sums(maps) if maps is not None else pixels.new_zeros(len(pixels), grid.count)
    with torch.no_grad():
        return perturbation_curve(
            Perturbed(f, pixels, grid, made),
            in_order(sums, order, seeds, first=goes),
            per_step=together,
            repeats=repeats,
            noisy=made.noisy,
            keys=keys,
            target=target,
            output=output,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
            resume=resume,
            settings={
                "region": grid.side,
                "regions": grid.count,
                "order": order,
                "fill": made.name,
                "range": [values.low.tolist(), values.high.tolist()],
            },
            notes=_notes(grid, order != "random" and not made.noisy, repeats),
        )


def _place(f: Any, images: Array) -> tuple[torch.device, torch.dtype]:
    given = images if isinstance(images, Tensor) else torch.as_tensor(images)
    if given.ndim != 4 or given.numel() == 0 or not given.is_floating_point():
        raise InvalidInput(
            f"images must be floats [N, C, H, W] as the model takes them, got {given.dtype} "
            f"{list(given.shape)}"
        )
    if not bool(torch.isfinite(given).all()):
        raise InvalidInput("images contain NaN or infinite values")
    return place_of(f, given)


def _as_images(images: Array, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(images).detach().to(device, dtype).contiguous()


def _as_heatmaps(heatmaps: Array | None, images: Tensor, order: str) -> Tensor | None:
    if order not in ORDERS:
        raise UnknownName("order", order, ORDERS)
    if order == "random":
        return None
    if heatmaps is None:
        raise InvalidInput(f"order {order!r} needs heatmaps; without them, order is 'random'")
    try:
        found = torch.as_tensor(heatmaps).detach().to(images.device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"heatmaps are a {type(heatmaps).__name__}; they must be an array [N, H, W], such as "
            "explanation.heatmap() or relprop.viz.pool_channels(explanation.relevance)"
        ) from error
    wanted = [len(images), *images.shape[2:]]
    if list(found.shape) != wanted:
        hint = "; pool the channels first: relprop.viz.pool_channels" if found.ndim == 4 else ""
        raise InvalidInput(f"heatmaps are {list(found.shape)}; expected {wanted}{hint}")
    if not bool(torch.isfinite(found).all()):
        raise InvalidInput("heatmaps contain NaN or infinite values")
    return found


def _regions_that_go(steps: int | None, together: int, grid: Grid) -> int:
    most = -(-grid.count // together)
    if steps is None:
        return grid.count
    if whole_number(steps, "steps") > most:
        raise InvalidInput(
            f"images of {grid.height} x {grid.width} hold {grid.count} regions of {grid.side} x "
            f"{grid.side}, which last for {most} steps of {together}; steps is {steps}. Give at "
            f"most {most}, or None for all (on the command line, leave --steps out)"
        )
    return min(steps * together, grid.count)


def _value_range(images: Tensor, given: tuple[Bound, Bound] | None) -> ValueRange:
    channels = images.shape[1]
    if given is None:
        return ValueRange(images.amin((0, 2, 3)), images.amax((0, 2, 3)))
    try:
        low, high = (
            torch.as_tensor(bound).to(images).expand(channels).contiguous() for bound in given
        )
    except (TypeError, ValueError, RuntimeError):
        low = high = images.new_zeros(0)
    if not len(low) or not bool((low < high).all()):
        raise InvalidInput(
            f"value_range is {given!r}; it must be (lowest, highest), two numbers or one for each "
            f"of {channels} channels"
        )
    return ValueRange(low, high)


def _check_signs(images: Tensor) -> None:
    if not bool((images.abs() == 1).all()):
        raise InvalidInput(
            "fill 'flip' turns the sign of pixels that are -1 or 1, and these images have others: "
            "binarise them first, as in torch.where(images > 0, 1.0, -1.0), and explain the same"
        )


def _notes(grid: Grid, same: bool, repeats: int) -> tuple[str, ...]:
    found = [grid.note] if grid.note is not None else []
    if same and repeats > 1:
        found.append(f"the fill has no noise: all {repeats} repeats are the same")
    return tuple(found)
