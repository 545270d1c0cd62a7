"""Baselines: random maps and edges."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relprop
from relprop.errors import InvalidInput
from tests.methods.twins import images, twin


def test_random_maps_depend_on_the_seed_and_the_sample():
    model, x = twin(), images(4)
    one = relprop.explain(model, x, 1, method="random", seed=5)
    again = relprop.explain(model, x, 1, method="random", seed=5)
    other = relprop.explain(model, x, 1, method="random", seed=6)
    assert torch.equal(one.relevance, again.relevance)
    assert not torch.equal(one.relevance, other.relevance)
    assert not torch.equal(one.relevance[0], one.relevance[1])
    assert torch.equal(
        relprop.explain(model, x, 1, method="random", seed=5, batch_size=3).relevance, one.relevance
    )
    assert torch.allclose(one.output, model(x))


def test_random_maps_are_uniform():
    model = nn.Linear(20_000, 2)
    found = relprop.explain(model, torch.rand(1, 20_000), method="random").relevance
    counts = torch.histc(found, 10, -1, 1)
    assert (counts - 2000).abs().max() < 5 * 2000**0.5
    assert found.min() >= -1 and found.max() < 1


def test_random_maps_of_several_targets_and_inputs_differ():
    dense = nn.Linear(4, 3)
    x = torch.rand(2, 4)
    found = relprop.explain(lambda a, b: dense(a + b), (x, x.clone()), "all", method="random")
    left, right = found.relevance
    assert left.shape == (2, 3, 4)
    assert not torch.equal(left, right) and not torch.equal(left[:, 0], left[:, 1])


def test_edges_are_sobels():
    x = images(2)
    found = relprop.explain(twin(), x, 1, method="edges").relevance
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).double() / 8
    kernels = torch.stack([across, across.T])[:, None]
    padded = F.pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    wanted = F.conv2d(padded, kernels).norm(2, 1).reshape(x.shape)
    assert torch.allclose(found, wanted)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 1, 4, 5, 6)])
def test_a_ramp_has_the_same_edge_everywhere_within(shape):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    x = torch.arange(shape[-1]).float().expand(shape).contiguous()
    model(x)
    found = relprop.explain(model, x, method="edges").relevance
    assert torch.allclose(found[..., 1:-1], torch.ones_like(found[..., 1:-1]))


def test_edges_need_positions():
    with pytest.raises(InvalidInput, match=r"edges need inputs with positions.*got \(2, 4\)"):
        relprop.explain(nn.Linear(4, 2), torch.rand(2, 4), method="edges")


def test_a_seed_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="seed must be a whole number of at least 0"):
        relprop.explain(nn.Linear(4, 2), torch.rand(2, 4), method="random", seed=None)


def test_token_ids_get_a_random_number_each():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    ids = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    found = relprop.explain(model, ids, method="random").relevance
    assert found.shape == (2, 5) and not torch.equal(found[0], found[1].flip(0))
    with pytest.raises(InvalidInput, match="all of these are integers"):
        relprop.explain(model, ids, method="edges")
