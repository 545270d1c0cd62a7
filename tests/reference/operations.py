"""Every operation that is not linear in its input, element by element."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from tests.reference import rules
from tests.reference.flatten import flatten


def windows(size, kernel, stride, padding=0, dilation=1, ceil=False) -> list[list[int]]:
    """The positions that each output of a pooling along one axis really reads."""
    span = dilation * (kernel - 1) + 1
    room = size + 2 * padding - span
    count = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1  # a window must start inside the input or its left padding
    starts = [j * stride - padding for j in range(count)]
    return [
        [p for p in (start + dilation * k for k in range(kernel)) if 0 <= p < size]
        for start in starts
    ]


def pool(x: Tensor, R: Tensor, axes: list[list[list[int]]], weigh: Callable) -> Tensor:
    """Shares R [N, C, *out] over the windows of x [N, C, *in] as ``weigh(values)`` says."""
    result = torch.zeros_like(x)
    spaces = [list(range(len(axis))) for axis in axes]
    for n, c in product(range(x.shape[0]), range(x.shape[1])):
        for position in product(*spaces):
            reads = list(product(*(axis[p] for axis, p in zip(axes, position, strict=True))))
            values = torch.stack([x[(n, c, *read)] for read in reads])
            for read, part in zip(reads, weigh(values), strict=True):
                result[(n, c, *read)] += part * R[(n, c, *position)]
    return result


def winners(values: Tensor) -> Tensor:
    """Thesis 2.33-2.35: the winner takes all, ties share equally."""
    best = (values == values.max()).to(values)
    return best / best.sum()


def powers(p: float) -> Callable[[Tensor], Tensor]:
    """Thesis 2.82, divided by the largest first."""

    def weigh(values: Tensor) -> Tensor:
        scaled = (values / values.abs().max()) ** p
        return scaled / scaled.sum()

    return weigh


def local_response_norm(x: Tensor, R: Tensor, size, alpha=1e-4, beta=0.75, k=1.0) -> Tensor:
    """Thesis 2.46, corrected; x [N, C, ...]. b = alpha / size with k factored out."""
    b, c = alpha / size / k, beta
    result = torch.zeros_like(x)
    for j in range(x.shape[1]):
        reads = [i for i in range(j - size // 2, j + (size - 1) // 2 + 1) if 0 <= i < x.shape[1]]
        total = sum(x[:, i].square() for i in reads)
        v = {i: -2 * b * c * x[:, i].square() / (1 + b * total) ** (c + 1) for i in reads}
        v[j] = (1 + b * x[:, j].square()) ** -c
        for i in reads:
            result[:, i] += v[i] / sum(v.values()) * R[:, j]
    return result


def softmax(x: Tensor, R: Tensor, axis: int = -1) -> Tensor:
    """AttnLRP: x_i (R_i - p_i sum_k R_k)."""
    return x * (R - x.softmax(axis) * R.sum(axis, keepdim=True))


def normalisation(frozen: Callable[[Tensor], Callable[[Tensor], Tensor]], x, R, epsilon=1e-6):
    """A normalisation whose scale is constant: ``frozen(x)`` is then linear in its argument."""
    maps = []
    for sample, relevance in zip(x, R, strict=True):
        W, b = flatten(frozen(sample[None]), [tuple(sample.shape)])
        maps.append(
            rules.share(
                rules.epsilon, sample.reshape(-1), W, b, relevance.reshape(-1), epsilon=epsilon
            )[0].reshape(sample.shape)
        )
    return torch.stack(maps)


def layer_norm(x, R, weight, bias, eps=1e-5, **options) -> Tensor:
    """Over the last axis; x [N, ..., D]."""

    def frozen(sample: Tensor) -> Callable[[Tensor], Tensor]:
        scale = (sample.var(-1, unbiased=False, keepdim=True) + eps).rsqrt()
        return lambda v: (v - v.mean(-1, keepdim=True)) * scale * weight + bias

    return normalisation(frozen, x, R, **options)


def group_norm(x, R, groups, weight, bias, eps=1e-5, **options) -> Tensor:
    """x [N, C, ...]; with as many groups as channels, instance normalisation."""

    def frozen(sample: Tensor) -> Callable[[Tensor], Tensor]:
        scale = (sample.reshape(groups, -1).var(-1, unbiased=False, keepdim=True) + eps).rsqrt()
        shape = (1, -1) + (1,) * (sample.ndim - 2)

        def apply(v: Tensor) -> Tensor:
            rows = v.reshape(groups, -1)
            rows = (rows - rows.mean(-1, keepdim=True)) * scale
            return rows.reshape(v.shape) * weight.reshape(shape) + bias.reshape(shape)

        return apply

    return normalisation(frozen, x, R, **options)


def rms_norm(x, R, weight, eps, **options) -> Tensor:
    """Over the last axis; x [N, ..., D]."""

    def frozen(sample: Tensor) -> Callable[[Tensor], Tensor]:
        scale = (sample.square().mean(-1, keepdim=True) + eps).rsqrt()
        return lambda v: v * scale * weight

    return normalisation(frozen, x, R, **options)


def matmul(a: Tensor, c: Tensor, R: Tensor, epsilon=1e-6) -> tuple[Tensor, Tensor]:
    """Half of R [N, I, K] to each factor, a [N, I, J] and c [N, J, K], by Epsilon."""
    z = a @ c
    ratio = R / (z + epsilon * rules.sign(z)) / 2
    to_a, to_c = torch.zeros_like(a), torch.zeros_like(c)
    for n, i, j, k in product(*map(range, (*a.shape, c.shape[2]))):
        to_a[n, i, j] += a[n, i, j] * c[n, j, k] * ratio[n, i, k]
        to_c[n, j, k] += a[n, i, j] * c[n, j, k] * ratio[n, i, k]
    return to_a, to_c
