"""What can be negative is known on the plan, not from the data: a wrong guess drops x- silently.

Each function stands before a dense layer with AlphaBeta or Gamma; whatever its values are, the
relevance at its output must be that of the rule with all four products.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference import rules as slow
from tests.reference.flatten import flatten
from tests.reference.measure import difference, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
WIDTH = 8
MINUS = -torch.ones(WIDTH).double()
MASK = torch.tensor([True, False] * 4)


def bent(slope):
    return lambda x: F.leaky_relu(x, slope)


def in_place(x):
    y = F.relu(x)
    y -= 1.0
    return y


def in_a_part(x):
    y = F.relu(x)
    y[:, :4] = x[:, :4]
    return y


def norm(x):
    return F.batch_norm(F.relu(x), -MINUS, -MINUS, 2 * MINUS, MINUS)


FUNCTIONS = {
    "nothing": lambda x: x,
    "relu": F.relu,
    "relu minus one": lambda x: F.relu(x) - 1.0,
    "one minus relu": lambda x: 1.0 - F.relu(x),
    "relu plus minus one": lambda x: F.relu(x) + (-1.0),
    "relu plus constant": lambda x: F.relu(x) + MINUS,
    "minus relu": lambda x: -F.relu(x),
    "relu times minus two": lambda x: F.relu(x) * -2.0,
    "relu times constant": lambda x: F.relu(x) * MINUS,
    "relu over minus two": lambda x: F.relu(x) / -2.0,
    "relu subtracted": lambda x: F.relu(x) - F.relu(-x) * 0.5,
    "add with a negative factor": lambda x: torch.add(F.relu(x), F.relu(-x), alpha=-0.5),
    "residual": lambda x: F.relu(x) + x,
    "both relu": lambda x: F.relu(x) + F.relu(-0.5 * x),
    "in place": in_place,
    "in a part": in_a_part,
    "leaky": F.leaky_relu,
    "leaky, slope 0": bent(0.0),
    "leaky, negative slope": bent(-0.5),
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softplus minus one": lambda x: F.softplus(x) - 1,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "tanh of relu": lambda x: torch.tanh(F.relu(x)),
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "clamp from below zero": lambda x: x.clamp(min=-0.5),
    "clamp at zero": lambda x: x.clamp(min=0),
    "clamp of relu from above": lambda x: F.relu(x).clamp(max=0.5),
    "clamp of relu below zero": lambda x: F.relu(x).clamp(max=-0.5),
    "threshold": lambda x: F.threshold(x, 0.0, -1.0),
    "square": torch.square,
    "cube": lambda x: x**3,
    "even power": lambda x: x**2,
    "abs": torch.abs,
    "exp": torch.exp,
    "exp minus one": torch.expm1,
    "log": lambda x: torch.log(F.relu(x) + 0.1),
    "sine of relu": lambda x: torch.sin(F.relu(x) * 4),
    "square root": lambda x: F.relu(x).sqrt(),
    "reciprocal": lambda x: 1.0 / (x.abs() + 0.5),
    "softmax": lambda x: x.softmax(-1),
    "maximum": lambda x: torch.maximum(F.relu(x), x),
    "maximum of raw": lambda x: torch.maximum(x, -2 * x - 1),
    "minimum": lambda x: torch.minimum(F.relu(x), x),
    "product of relus": lambda x: F.relu(x) * F.relu(x + 1),
    "product of raw": lambda x: x * (x + 1),
    "gated": lambda x: x * torch.sigmoid(x),
    "relu gated": lambda x: F.relu(x) * torch.sigmoid(x),
    "quotient": lambda x: F.relu(x) / (x - 10.0),
    "pad with minus one": lambda x: F.pad(F.relu(x)[:, 1:], (1, 0), value=-1.0),
    "joined with constants": lambda x: torch.cat(
        [F.relu(x)[:, :4], MINUS[:4].expand(len(x), 4)], 1
    ),
    "joined with raw": lambda x: torch.cat([F.relu(x)[:, :4], x[:, 4:]], 1),
    "stacked": lambda x: torch.stack([F.relu(x)[:, :4], x[:, 4:]], 1).flatten(1),
    "where": lambda x: torch.where(MASK, F.relu(x), x),
    "where constant": lambda x: torch.where(MASK, F.relu(x), MINUS),
    "masked fill": lambda x: F.relu(x).masked_fill(MASK, -1.0),
    "mean": lambda x: F.avg_pool1d(F.relu(x)[:, None], 3, 1, 1)[:, 0],
    "max pool": lambda x: F.max_pool1d(F.relu(x)[:, None], 3, 1, 1)[:, 0],
    "max pool of raw": lambda x: F.max_pool1d(x[:, None], 3, 1, 1)[:, 0],
    "upsampled": lambda x: F.interpolate(F.relu(x)[:, None, :4], scale_factor=2)[:, 0],
    "upsampled linearly": lambda x: F.interpolate(
        F.relu(x)[:, None, :4], scale_factor=2, mode="linear"
    )[:, 0],
    "upsampled cubically": lambda x: F.interpolate(
        F.relu(x).reshape(-1, 1, 2, 4)[..., :2], scale_factor=(2.0, 1.0), mode="bicubic"
    ).flatten(1),
    "batch norm": norm,
    "layer norm": lambda x: F.layer_norm(F.relu(x), (WIDTH,)),
    "rms norm": lambda x: F.rms_norm(F.relu(x), (WIDTH,), MINUS),
    "normalised": lambda x: F.normalize(F.relu(x) + 0.1, dim=1),
    "response norm": lambda x: F.local_response_norm(F.relu(x)[:, :, None], 3)[:, :, 0],
    "p-norm": lambda x: F.lp_pool1d(F.relu(x)[:, None].repeat_interleave(2, 2), 2.0, 2)[:, 0],
    "dropout": lambda x: F.dropout(F.relu(x), 0.5, training=False),
    "moved": lambda x: F.relu(x).flip(1).roll(1, 1).view(-1, 2, 4).mT.flatten(1),
    "dense": lambda x: F.linear(F.relu(x), torch.eye(WIDTH).double() - 0.3),
    "dense of ones": lambda x: F.linear(F.relu(x), torch.ones(WIDTH, WIDTH).double(), MINUS),
    "prelu": nn.PReLU(init=-0.5),
    "rrelu": nn.RReLU(),
    "cast": lambda x: F.relu(x).float().double(),
    "glu": lambda x: F.glu(F.relu(x).repeat(1, 2)),
    "logsigmoid": F.logsigmoid,
    "sum minus": lambda x: F.relu(x).sum(1, keepdim=True) - F.relu(x),
    "rectified twice": lambda x: F.relu(F.relu(x) - 0.5),
    "cosine": torch.cos,
    "selected": lambda x: torch.stack([F.relu(x), x], 1)[:, 1],
    "unbound": lambda x: torch.stack([x, F.relu(x)], 1).unbind(1)[1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "reference"),
    [(relprop.AlphaBeta(2, -1), slow.alpha_beta), (relprop.Gamma(0.25), slow.gamma)],
    ids=["alpha-beta", "gamma"],
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_four_products_wherever_values_can_be_negative(name, rule, reference):
    function = FUNCTIONS[name]
    module = function if isinstance(function, nn.Module) else Call(function)
    model = nn.Sequential(module, nn.Linear(WIDTH, 5)).double().eval().requires_grad_(False)
    x = torch.randn(6, WIDTH).double()
    weights, start = starting_at(model(x.clone()))
    # Only the dense layer: what stands before it need not know the rule.
    preset = relprop.Preset([(relprop.where(module="1"), rule)], name="head")
    found = relprop.explain(model, x, weights, rules=preset, layers=["0"]).layers["0"]
    hidden = module(x.clone())
    W, b = flatten(model[1], [(WIDTH,)])
    wanted = torch.stack(
        [slow.share(reference, v, W, b, R)[0] for v, R in zip(hidden, start, strict=True)]
    )
    assert difference(found, wanted) <= 1e-9
