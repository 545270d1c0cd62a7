"""Blocks as timm writes them: in place, functional, by formula, with gates and dropped paths."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference.measure import difference, gap, predicted

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over channels, permuting there and back."""

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class FormulaNorm2d(nn.Module):
    """The same, written out."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class DropPath(nn.Module):
    """Stochastic depth: nothing happens outside training."""

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0.0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.p)
        return x * keep.div_(1 - self.p)


class SqueezeExcite(nn.Module):
    def __init__(self, width, gate=torch.sigmoid):
        super().__init__()
        self.reduce, self.expand, self.gate = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1), gate

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(F.relu(self.reduce(s), inplace=True)))


class EfficientChannelAttention(nn.Module):
    """A gate from a one-dimensional convolution over channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        y = x.mean((2, 3)).view(x.shape[0], 1, -1)
        y = self.conv(y).view(x.shape[0], -1, 1, 1).sigmoid()
        return x * y.expand_as(x)


def hard_swish(x):
    """As written before torch had it."""
    return x.mul(F.relu6(x + 3.0) / 6.0)


def hard_swish_in_place(x):
    inner = F.relu6(x + 3.0).div_(6.0)
    return x.mul_(inner)


class BatchNormAct2d(nn.BatchNorm2d):
    """Norm and activation in one module, by a functional call."""

    def forward(self, x):
        x = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps
        )
        return F.silu(x, inplace=True)


class StandardisedConv2d(nn.Conv2d):
    """Weight standardisation: the weight is made at every pass."""

    def forward(self, x):
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, training=True, momentum=0.0
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class SameConv2d(nn.Conv2d):
    """TensorFlow's padding: as much as the size needs, more at the end."""

    def forward(self, x):
        need = [
            max((-(-s // st) - 1) * st + k - s, 0)
            for s, k, st in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        ]
        x = F.pad(x, (need[1] // 2, need[1] - need[1] // 2, need[0] // 2, need[0] - need[0] // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride)


class SplitAttention(nn.Module):
    """ResNeSt: two groups of channels weighted by a softmax over the groups."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.fc = (
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.Conv2d(width, 2 * width, 1),
        )

    def forward(self, x):
        n, c = x.shape[:2]
        x = F.relu(self.conv(x)).reshape(n, 2, c, *x.shape[2:])
        weights = self.fc(x.sum(1).mean((2, 3), keepdim=True)).view(n, 2, c)
        return (x * F.softmax(weights, 1)[..., None, None]).sum(1)


class Shuffle(nn.Module):
    """ShuffleNet: half of the channels go through, then all are shuffled."""

    def __init__(self, width):
        super().__init__()
        half = width // 2
        self.conv = nn.Conv2d(half, half, 3, padding=1, groups=half)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        x = torch.cat((left, F.relu_(self.conv(right))), 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class InvertedResidual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.expand, self.norm = (
            nn.Conv2d(width, 2 * width, 1, bias=False),
            BatchNormAct2d(2 * width),
        )
        self.depth = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False)
        self.norm2, self.gate = BatchNormAct2d(2 * width), SqueezeExcite(2 * width)
        self.project, self.norm3 = nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width)
        self.drop = DropPath()

    def forward(self, x):
        shortcut = x
        x = self.norm(self.expand(x))
        x = self.gate(self.norm2(self.depth(x)))
        x = self.norm3(self.project(x))
        return self.drop(x) + shortcut


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depth = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.up, self.down = (
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        )  # fmt: skip
        self.scale = nn.Parameter(0.5 * torch.ones(width))

    def forward(self, x):
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """ConvNeXt V2."""

    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, width, 1, 1))
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x):
        g = torch.linalg.vector_norm(x, ord=2, dim=(2, 3), keepdim=True)
        n = g / (g.mean(1, keepdim=True) + 1e-6)
        return self.gamma * (x * n) + self.beta + x


class Focus(nn.Module):
    """YOLO's stem: four sub-sampled copies side by side."""

    def forward(self, x):
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return torch.cat(parts, 1)[:, :4]


class Pyramid(nn.Module):
    """Down and up again, added, and by a blur with reflected padding."""

    def forward(self, x):
        small = F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="reflect"), 2, stride=2)
        blur = torch.ones(4, 1, 3, 3, dtype=x.dtype) / 9
        blurred = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), blur, groups=4)
        up = F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return blurred + up


class MixedPool(nn.Module):
    """timm's catavgmax and avgmax."""

    def forward(self, x):
        average, largest = F.adaptive_avg_pool2d(x, 3), F.adaptive_max_pool2d(x, 3)
        return 0.5 * (average + largest)


class InPlaceResidual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        shortcut = x
        x = self.norm(self.conv(x))
        x += shortcut
        return F.relu_(x)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


BLOCKS = {
    "layer norm over channels": lambda: LayerNorm2d(4),
    "layer norm by formula": lambda: FormulaNorm2d(4),
    "drop path": DropPath,
    "squeeze and excite": lambda: SqueezeExcite(4),
    "squeeze and excite, hard": lambda: SqueezeExcite(4, F.hardsigmoid),
    "efficient channel attention": EfficientChannelAttention,
    "hard swish by formula": lambda: Function(hard_swish),
    "hard swish in place": lambda: Function(hard_swish_in_place),
    "norm and activation": lambda: BatchNormAct2d(4),
    "standardised weights": lambda: StandardisedConv2d(4, 4, 3, padding=1),
    "same padding": lambda: SameConv2d(4, 4, 3, stride=2),
    "split attention": lambda: SplitAttention(4),
    "channel shuffle": lambda: Shuffle(4),
    "inverted residual": lambda: InvertedResidual(4),
    "ConvNeXt block": lambda: ConvNeXtBlock(4),
    "global response norm": lambda: GlobalResponseNorm(4),
    "focus": Focus,
    "pyramid": Pyramid,
    "mixed pooling": MixedPool,
    "in-place residual": lambda: InPlaceResidual(4),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "instance norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "swish by formula": lambda: Function(lambda x: x.mul_(x.sigmoid())),
    "mish by formula": lambda: Function(lambda x: x.mul(F.softplus(x).tanh())),
    "GELU by formula": lambda: Function(lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
    "generalised mean": lambda: Function(
        lambda x: F.avg_pool2d(x.clamp(min=1e-6).pow(3.0), 2).pow(1 / 3)
    ),
}


class Around(nn.Module):
    """A block between a stem and a head."""

    def __init__(self, block):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3, stride=2, padding=1), block
        self.head = nn.LazyLinear(5)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def prepared(name):
    model = Around(BLOCKS[name]()).double().eval()
    x = torch.randn(2, 3, 16, 16).double()
    with torch.no_grad():
        model(x)
    for key, value in model.named_buffers():
        if "running_mean" in key:
            value.normal_(0, 0.1)
        elif "running_var" in key:
            value.uniform_(0.5, 1.5)
    return model.requires_grad_(False), x


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs_unmodified_and_conserves(name):
    model, x = prepared(name)
    kept = x.clone()
    for rules in (None, "epsilon", "alpha2beta1"):
        explanation = relprop.explain(model, x, rules=rules, layers=["block"])
        assert gap(explanation, predicted(explanation)) <= 1e-9, rules
        assert explanation.relevance.isfinite().all()
        assert explanation.relevance.abs().max() > 0
        assert torch.allclose(explanation.output, model(kept.clone()))
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: LayerNorm2d(4, eps=1e-6), lambda: FormulaNorm2d(4)),
        (lambda: Function(F.silu), lambda: Function(lambda x: x * torch.sigmoid(x))),
        (lambda: InPlaceResidual(4), lambda: InPlaceResidual(4)),
    ],
    ids=["layer norm", "swish", "itself"],
)
def test_by_formula_or_by_layer_is_the_same(first, second):
    """Epsilon(0), where the order of linear steps does not matter."""
    maps = []
    for block in (first, second):
        torch.manual_seed(3)
        model = Around(block()).double().eval()
        x = torch.randn(2, 3, 8, 8).double()
        with torch.no_grad():
            model(x)
            torch.manual_seed(4)
            for parameter in model.parameters():
                parameter.normal_(0.2)
        maps.append(relprop.explain(model, x, 1, rules=relprop.Epsilon(0)).relevance)
    assert difference(*maps) <= 1e-5


def test_a_gate_gets_nothing_and_what_feeds_it_neither():
    model, x = prepared("squeeze and excite")
    explanation = relprop.explain(model, x, 1, layers=["block.reduce", "block.expand", "block"])
    assert explanation.layers["block.reduce"].abs().max() == 0
    assert explanation.layers["block.expand"].abs().max() == 0
    assert explanation.layers["block"].abs().max() > 0


def test_dropped_paths_change_nothing_outside_training():
    model, x = prepared("drop path")
    plain = Around(nn.Identity()).double().eval()
    plain.stem, plain.head = model.stem, model.head
    wanted = relprop.explain(plain, x, 1).relevance
    assert torch.equal(relprop.explain(model, x, 1).relevance, wanted)
