"""Moves of elements: relevance follows them, a copied element collects the sum of its copies."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from tests.reference.flatten import flatten
from tests.reference.measure import difference, gap, starting_at
from tests.reference.shapes import Call

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

INDEX = torch.tensor([2, 0, 2, 1])
MASK = torch.tensor([[True, False, True, True]] * 3)
OTHER = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(1)).double()


def assigned(x):
    y = torch.zeros_like(x)
    y[:, :, 1:, :3] = x[:, :, :-1, 1:]
    return y


def in_place(x):
    y = x.clone()
    y[:, 0] = x[:, 1]
    y.relu_()
    return y


MOVES = {
    "view": lambda x: x.view(x.shape[0], -1),
    "reshape": lambda x: x.transpose(1, 3).reshape(x.shape[0], 6, 4),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(3, (2, 2)),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(2, 3),
    "movedim": lambda x: x.movedim(1, -1),
    "contiguous": lambda x: x.permute(0, 3, 1, 2).contiguous(),
    "slice": lambda x: x[:, :, ::2, 1:],
    "select": lambda x: x[:, 1],
    "narrow": lambda x: x.narrow(3, 1, 2),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(2),
    "index": lambda x: x[:, :, INDEX],
    "index_select": lambda x: x.index_select(2, INDEX),
    "boolean index": lambda x: x[:, :, MASK],
    "gather": lambda x: x.gather(2, INDEX.reshape(1, 1, 4, 1).expand(len(x), 2, 4, 4)),
    "take_along_dim": lambda x: torch.take_along_dim(x, INDEX.reshape(1, 1, 4, 1), 2),
    "where": lambda x: torch.where(MASK, x, torch.tensor(2.0, dtype=x.dtype)),
    "masked_fill": lambda x: x.masked_fill(~MASK, 0.0),
    "tril": lambda x: x.tril(),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad with a value": lambda x: F.pad(x, (1, 0), value=3.0),
    "crop by pad": lambda x: F.pad(x, (-1, 0, 0, -1)),
    "pad reflect": lambda x: F.pad(x, (1, 2, 1, 1), mode="reflect"),
    "pad replicate": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "pad circular": lambda x: F.pad(x, (1, 2, 1, 0), mode="circular"),
    "zero pad module": nn.ZeroPad2d((1, 0, 2, 1)),
    "stack": lambda x: torch.stack([x[:, 0], x[:, 1], x[:, 0]], 1),
    "cat": lambda x: torch.cat([x[:, 1:], x], 1),
    "cat with a constant": lambda x: torch.cat([OTHER.expand_as(x), x], 2),
    "expand": lambda x: x.unsqueeze(2).expand(-1, -1, 3, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=3),
    "tile": lambda x: x.tile(1, 1, 2, 1),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "flip": lambda x: x.flip(-1),
    "rot90": lambda x: x.rot90(1, (2, 3)),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest uneven": lambda x: F.interpolate(x, size=(5, 3)),
    "nearest exact": lambda x: F.interpolate(x, size=(7, 3), mode="nearest-exact"),
    "nearest 1d": lambda x: F.interpolate(x[:, 0], scale_factor=2),
    "nearest 3d": lambda x: F.interpolate(x[:, None], scale_factor=2),
    "upsample": nn.Upsample(scale_factor=3),
    "unfold": lambda x: x.unfold(3, 3, 1),
    "im2col": lambda x: F.unfold(x, 2),
    "im2col padded": lambda x: F.unfold(x, 3, padding=1, stride=2),
    "col2im": lambda x: F.fold(F.unfold(F.pad(x, (0, 0, 0, 1)), 2, stride=2), (4, 4), 2, stride=2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :2], 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "split": lambda x: torch.cat(x.split([1, 3], 3)[::-1], 3),
    "chunk": lambda x: x.chunk(2, 3)[1],
    "tensor_split": lambda x: x.tensor_split(3, 3)[0],
    "diagonal": lambda x: x.diagonal(dim1=2, dim2=3),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "cast": lambda x: x.float().double(),
    "as_strided": lambda x: x.contiguous().as_strided((len(x), 3, 4), (24, 4, 1)),
    "broadcast_to": lambda x: x[:, :1].broadcast_to(x.shape),
    "assignment": assigned,
    "slice_scatter": lambda x: OTHER.expand_as(x).slice_scatter(x[:, :, :2], 2, 1, 3),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", MOVES)
def test_relevance_follows_the_elements(name):
    move = MOVES[name]
    model = move if isinstance(move, nn.Module) else Call(move)
    x = torch.randn(2, 2, 3, 4).double()
    with torch.no_grad():
        weights, start = starting_at(model(x))
    if name == "cast":
        weights, start = torch.ones_like(weights), model(x)
    explanation = relprop.explain(model, x, weights, rules=relprop.Epsilon(0))
    # The derivative of a move is 0 or 1 whatever the values are: where each element came from.
    origin = flatten_at(model, x)
    wanted = (start.flatten(1) @ origin.T).reshape(x.shape)
    assert difference(explanation.relevance, wanted) <= (1e-6 if name == "cast" else 1e-12)
    assert gap(explanation, start.flatten(1).sum(1)) <= (1e-6 if name == "cast" else 1e-12)


def flatten_at(model, x):
    if isinstance(model, Call) and model.function is MOVES["detach"]:
        return torch.eye(x[0].numel(), dtype=x.dtype)
    return flatten(model, [tuple(x.shape[1:])])[0]


def test_writing_in_place_into_a_part():
    x = torch.randn(2, 2, 3, 4).double()
    with torch.no_grad():
        weights, start = starting_at(in_place(x))
    explanation = relprop.explain(Call(in_place), x, weights, rules="epsilon")
    wanted = torch.stack([torch.zeros_like(start[:, 0]), start.sum(1)], 1)
    assert difference(explanation.relevance, wanted) <= 1e-12
