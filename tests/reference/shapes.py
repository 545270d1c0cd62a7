"""The operations that are linear in their inputs, in all their shapes: one ``Case`` each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Case:
    """A model of one operation, and the same operation as the reference sees it.

    A padding that copies elements is a move of its own before the operation: ``move`` is that
    padding and ``linear`` what reads its result. Otherwise the model itself is the operation.
    """

    name: str
    model: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    move: Callable[[Tensor], Tensor] | None = None
    linear: Callable[..., Tensor] | None = None

    def inputs(self, samples: int = 2) -> tuple[Tensor, ...]:
        """Inputs of either sign, seeded by the name."""
        generator = torch.Generator().manual_seed(sum(map(ord, self.name)))
        return tuple(
            torch.randn(samples, *shape, generator=generator, dtype=torch.float64)
            for shape in self.shapes
        )


class Call(nn.Module):
    """A function as a model; its constants are given when it is called."""

    def __init__(self, function: Callable[..., Tensor]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _double(model: nn.Module) -> nn.Module:
    return model.double().eval().requires_grad_(False)


def _constant(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) * 100 + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _dense() -> Iterator[Case]:
    def layer(name, n, m, shape, **options):
        return Case(name, _double(nn.Linear(n, m, **options)), (shape,))

    yield layer("linear", 6, 4, (6,))
    yield layer("linear without bias", 6, 4, (6,), bias=False)
    yield layer("linear one output", 7, 1, (7,))
    yield layer("linear one input", 1, 5, (1,))
    yield layer("linear wide", 30, 20, (30,))
    yield layer("linear on tokens", 5, 4, (3, 5))
    yield layer("linear on tokens without bias", 5, 4, (3, 5), bias=False)
    yield layer("linear on a grid", 4, 3, (2, 3, 4))
    five_four, three_five = _constant(5, 4), _constant(3, 5)
    yield Case("product with a matrix", Call(lambda x: x @ five_four), ((5,),))
    yield Case("product with a matrix, tokens", Call(lambda x: x @ five_four), ((3, 5),))
    yield Case("matrix from the left", Call(lambda x: three_five @ x), ((5, 4),))
    yield Case("einsum", Call(lambda x: torch.einsum("nij,jk->nik", x, five_four)), ((3, 5),))
    bias = _constant(4)
    yield Case("addmm", Call(lambda x: torch.addmm(bias, x, five_four)), ((5,),))
    yield Case("functional linear", Call(lambda x: F.linear(x, five_four.T, bias)), ((5,),))


def _convolutions() -> Iterator[Case]:
    kinds = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    grids = {1: (9,), 2: (6, 5), 3: (4, 4, 3)}
    variants = {
        "plain": (2, 3, 3, {}),
        "without bias": (2, 3, 3, {"bias": False}),
        "strided": (2, 3, 2, {"stride": 2}),
        "strided past the kernel": (2, 2, 1, {"stride": 2}),
        "padded": (2, 3, 3, {"padding": 1}),
        "padded and strided": (2, 3, 3, {"padding": 1, "stride": 2}),
        "dilated": (2, 2, 2, {"dilation": 2}),
        "dilated and padded": (2, 2, 3, {"dilation": 2, "padding": 2}),
        "grouped": (4, 6, 3, {"groups": 2, "padding": 1}),
        "depthwise": (3, 3, 3, {"groups": 3, "padding": 1}),
        "depthwise doubled": (2, 4, 2, {"groups": 2, "bias": False}),
        "pointwise": (3, 4, 1, {}),
        "same": (2, 2, 3, {"padding": "same"}),
        "same, even kernel": (2, 2, 2, {"padding": "same"}),
    }
    for d, kind in kinds.items():
        for name, (n, m, kernel, options) in variants.items():
            model = _double(kind(n, m, kernel, **options))
            yield Case(f"conv{d}d {name}", model, ((n, *grids[d]),))
        for mode in ("reflect", "replicate", "circular"):
            model = _double(kind(2, 2, 3, padding=1, padding_mode=mode))
            yield Case(
                f"conv{d}d {mode}",
                model,
                ((2, *grids[d]),),
                move=lambda x, d=d, mode=mode: F.pad(x, (1, 1) * d, mode=mode),
                linear=lambda x, d=d, m=model: getattr(F, f"conv{d}d")(x, m.weight, m.bias),
            )
    yield Case("conv2d oblong", _double(nn.Conv2d(2, 2, (1, 3), padding=(0, 1))), ((2, 4, 5),))
    yield Case(
        "conv2d oblong strided", _double(nn.Conv2d(2, 2, (3, 2), stride=(1, 2))), ((2, 5, 6),)
    )


def _transposed() -> Iterator[Case]:
    def layer(name, kind, n, m, kernel, shape, **options):
        return Case(f"transposed {name}", _double(kind(n, m, kernel, **options)), (shape,))

    one, two, three = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
    yield layer("1d", one, 2, 3, 3, (2, 5))
    yield layer("1d strided", one, 2, 2, 3, (2, 4), stride=2, padding=1, output_padding=1)
    yield layer("1d with gaps", one, 2, 2, 2, (2, 4), stride=3, bias=False)
    yield layer("2d", two, 2, 3, 3, (2, 3, 4))
    yield layer("2d strided", two, 2, 2, 3, (2, 3, 3), stride=2, padding=1, output_padding=1)
    yield layer("2d grouped", two, 4, 2, 2, (4, 3, 3), groups=2, stride=2)
    yield layer("2d dilated", two, 2, 2, 2, (2, 3, 3), dilation=2, bias=False)
    yield layer("2d depthwise", two, 3, 3, 3, (3, 3, 3), groups=3, padding=1)
    yield layer("3d", three, 2, 2, 2, (2, 2, 3, 2))
    yield layer("3d strided", three, 2, 2, 2, (2, 2, 2, 2), stride=2, output_padding=1)


def _pooling() -> Iterator[Case]:
    def layer(name, model, shape):
        return Case(name, _double(model), (shape,))

    yield layer("avg1d", nn.AvgPool1d(2), (2, 8))
    yield layer("avg1d ceil", nn.AvgPool1d(3, 2, ceil_mode=True), (2, 8))
    yield layer("avg1d padded", nn.AvgPool1d(3, 2, padding=1), (2, 8))
    yield layer(
        "avg1d without padding", nn.AvgPool1d(3, 2, padding=1, count_include_pad=False), (2, 8)
    )
    yield layer("avg2d", nn.AvgPool2d(2), (2, 6, 4))
    yield layer("avg2d overlapping", nn.AvgPool2d(3, 2), (2, 7, 5))
    yield layer("avg2d ceil", nn.AvgPool2d(3, 2, ceil_mode=True), (2, 6, 6))
    yield layer("avg2d padded", nn.AvgPool2d(3, 2, padding=1), (2, 5, 6))
    yield layer(
        "avg2d without padding", nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), (2, 5, 6)
    )
    yield layer(
        "avg2d ceil padded", nn.AvgPool2d((2, 3), (2, 2), padding=1, ceil_mode=True), (2, 6, 5)
    )
    yield layer("avg2d divisor", nn.AvgPool2d(2, divisor_override=3), (2, 4, 4))
    yield layer("sum2d", nn.AvgPool2d(2, divisor_override=1), (2, 4, 4))
    yield layer("avg3d", nn.AvgPool3d(2), (2, 4, 4, 2))
    yield layer(
        "avg3d padded",
        nn.AvgPool3d(2, padding=1, ceil_mode=True, count_include_pad=False),
        (1, 3, 4, 3),
    )
    yield layer("avg3d divisor", nn.AvgPool3d(2, 1, divisor_override=5), (1, 3, 3, 3))
    yield layer("adaptive1d", nn.AdaptiveAvgPool1d(3), (2, 7))
    yield layer("adaptive2d", nn.AdaptiveAvgPool2d((3, 2)), (2, 7, 5))
    yield layer("adaptive2d to one", nn.AdaptiveAvgPool2d(1), (3, 4, 5))
    yield layer("adaptive2d even", nn.AdaptiveAvgPool2d(2), (2, 4, 6))
    yield layer("adaptive3d", nn.AdaptiveAvgPool3d((2, 3, 2)), (1, 3, 4, 5))


def _reductions() -> Iterator[Case]:
    yield Case("mean of the last axis", Call(lambda x: x.mean(-1)), ((3, 5),))
    yield Case("mean of a middle axis", Call(lambda x: x.mean(1)), ((3, 5),))
    yield Case("mean of a grid", Call(lambda x: x.mean((2, 3))), ((2, 3, 4),))
    yield Case("mean, axes kept", Call(lambda x: x.mean((-2, -1), keepdim=True)), ((2, 3, 4),))
    yield Case("sum of the last axis", Call(lambda x: x.sum(-1)), ((3, 5),))
    yield Case("sum of a grid", Call(lambda x: x.sum((2, 3))), ((2, 3, 4),))
    yield Case("sum, axis kept", Call(lambda x: x.sum(1, keepdim=True)), ((3, 5),))


def _interpolation() -> Iterator[Case]:
    # "nearest" copies elements: it is a move, and among the moves it is tested.
    def up(mode, shape, **options):
        name = " ".join([mode, f"{len(shape) - 1}d", *map(str, options.values())])
        return Case(name, Call(lambda x: F.interpolate(x, mode=mode, **options)), (shape,))

    yield up("linear", (2, 5), scale_factor=2)
    yield up("bilinear", (2, 3, 4), scale_factor=2)
    yield up("bilinear", (2, 5, 5), size=(7, 3))
    yield up("bilinear", (2, 4, 4), size=(6, 6), align_corners=True)
    yield up("bicubic", (2, 4, 5), scale_factor=2)
    yield up("bicubic", (1, 5, 4), size=(8, 7))
    yield up("trilinear", (1, 3, 2, 3), scale_factor=2)


def _branches() -> Iterator[Case]:
    grid = (2, 3, 4)
    yield Case("sum of two branches", Call(lambda a, c: a + c), (grid, grid))
    yield Case("difference of two branches", Call(lambda a, c: a - c), (grid, grid))
    yield Case("sum with a factor", Call(lambda a, c: torch.add(a, c, alpha=-2.5)), (grid, grid))
    yield Case("difference with a factor", Call(lambda a, c: a.sub(c, alpha=0.3)), (grid, grid))
    yield Case("reversed difference", Call(lambda a, c: torch.rsub(a, c)), ((5,), (5,)))
    yield Case("sum, broadcast", Call(lambda a, c: a + c), (grid, (2, 1, 1)))
    yield Case("difference, broadcast", Call(lambda a, c: a - c), ((1, 4), (3, 4)))


def _constants() -> Iterator[Case]:
    row, grid = _constant(4), _constant(2, 1, 1)
    yield Case("plus a constant", Call(lambda x: x + row), ((3, 4),))
    yield Case("plus a number", Call(lambda x: x + 0.7), ((4,),))
    yield Case("constant minus", Call(lambda x: row - x), ((3, 4),))
    yield Case("number minus", Call(lambda x: 1.0 - x), ((4,),))
    yield Case("minus", Call(lambda x: -x), ((4,),))
    yield Case("times a constant", Call(lambda x: x * grid), ((2, 3, 4),))
    yield Case("times a number", Call(lambda x: 0.1 * x), ((4,),))
    yield Case("over a constant", Call(lambda x: x / row), ((3, 4),))
    yield Case("over a number", Call(lambda x: x / 255), ((2, 3),))


def _batch_norms() -> Iterator[Case]:
    for name, kind, shape in (
        ("1d", nn.BatchNorm1d, (4,)),
        ("1d on signals", nn.BatchNorm1d, (3, 5)),
        ("2d", nn.BatchNorm2d, (3, 2, 4)),
        ("3d", nn.BatchNorm3d, (2, 2, 2, 3)),
    ):
        model = _double(kind(shape[0]))
        model.weight.copy_(_constant(shape[0]))
        model.bias.copy_(_constant(shape[0], 1).flatten())
        model.running_mean.copy_(_constant(shape[0], 2)[:, 0])
        model.running_var.copy_(_constant(shape[0], 3)[:, 0].exp())
        yield Case(f"batch norm {name}", model, (shape,))
    plain = _double(nn.BatchNorm2d(3, affine=False))
    plain.running_mean.copy_(_constant(3))
    yield Case("batch norm without weights", plain, ((3, 2, 4),))


def cases() -> list[Case]:
    """All of them, the same at every call."""
    families = (
        _dense, _convolutions, _transposed, _pooling, _reductions, _interpolation, _branches,
        _constants, _batch_norms,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [case for family in families for case in family()]
