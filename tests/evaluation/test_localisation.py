import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relprop.errors import InvalidInput
from relprop.evaluation import mass_inside, rank_accuracy

HEAT = torch.tensor([[[4.0, 3.0, 2.0], [1.0, -8.0, 0.0]]])
MASK = np.array([[1, 0, 1], [0, 1, 0]])


def test_by_hand():
    assert mass_inside(HEAT, MASK).tolist() == [6 / 10]
    assert rank_accuracy(HEAT, MASK).tolist() == [pytest.approx(2 / 3)]
    assert mass_inside(HEAT, MASK).dtype == torch.float64 == rank_accuracy(HEAT, MASK).dtype


def test_a_mask_for_each_or_one_for_all():
    maps = torch.cat([HEAT, HEAT.flip(2)])
    both = torch.tensor(np.stack([MASK, MASK[:, ::-1].copy()]))
    assert mass_inside(maps, both).tolist() == [0.6, 0.6]
    assert mass_inside(maps, MASK == 1).tolist() == mass_inside(maps, MASK).tolist()


def mean_over_ties(values, inside):
    """Every way to order tied pixels, counted out."""
    size, shares = sum(inside), []
    for order in itertools.permutations(range(len(values))):
        if all(values[a] >= values[b] for a, b in itertools.pairwise(order)):
            shares.append(sum(inside[k] for k in order[:size]) / size)
    return sum(shares) / len(shares)


@settings(max_examples=60, deadline=None)
@given(
    pixels=st.lists(st.tuples(st.integers(-1, 2), st.booleans()), min_size=2, max_size=6).filter(
        lambda pixels: any(inside for _, inside in pixels)
    )
)
def test_ties_count_by_their_mean(pixels):
    values, inside = zip(*pixels, strict=True)
    found = rank_accuracy(torch.tensor([[values]]).float(), torch.tensor([[inside]]))
    assert float(found) == pytest.approx(mean_over_ties(values, inside))


def test_no_preference_gets_the_mask_s_share():
    flat, mask = torch.ones(1, 5, 4), torch.zeros(5, 4)
    mask[1:3, :3] = 1
    assert float(mass_inside(flat, mask)) == pytest.approx(6 / 20)
    assert float(rank_accuracy(flat, mask)) == pytest.approx(6 / 20)


def test_perfect_and_none():
    mask = torch.zeros(5, 4)
    mask[1:3, :3] = 1
    for measure in (mass_inside, rank_accuracy):
        assert float(measure(mask[None], mask)) == 1
        assert float(measure(1 - mask[None], mask)) == 0
    assert mass_inside(-mask[None], mask).isnan().all()
    assert rank_accuracy(HEAT, MASK * 0).isnan().all()


def test_what_does_not_fit():
    with pytest.raises(InvalidInput, match="booleans, or of 0 and 1"):
        mass_inside(HEAT, MASK * 2)
    with pytest.raises(InvalidInput, match=r"masks are \[3, 2\] for relevance \[1, 2, 3\]"):
        rank_accuracy(HEAT, MASK.T)
    with pytest.raises(InvalidInput, match=r"heatmaps are \[2, 3\]; expected \[N, H, W\]"):
        rank_accuracy(HEAT[0], MASK)
