import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relprop.errors import InvalidInput
from relprop.evaluation import box_mask, context_figure, context_ratio

HEAT = torch.tensor(
    [
        [[1.0, 2.0, 0.0, -5.0], [3.0, 2.0, 1.0, 0.0]],
        [[4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
    ]
)
LEFT = [(0, 0, 2, 2)]


def test_equation_4_11_by_hand():
    """Inside 1, 2, 3, 2; outside 0, 1, 0 and a negative one, which counts as a pixel of nothing."""
    found = context_ratio(HEAT, [LEFT, LEFT])
    assert found.ratios.tolist() == [(1 / 4) / (8 / 4), 0]
    assert found.mean == pytest.approx(0.0625)
    assert found.spread == pytest.approx(0.125 / 2**0.5)
    assert not any(found.left_out.values())


def test_boxes_are_joined_not_added():
    twice = context_ratio(HEAT[:1], [[*LEFT, *LEFT, (1, 0, 2, 1)]])
    assert twice.ratios.tolist() == [0.125]
    both = context_ratio(HEAT[:1], [[(0, 0, 1, 2), (1, 0, 2, 2)]])
    assert both.ratios.tolist() == [0.125]


def test_images_without_a_ratio_are_counted_and_named():
    maps = HEAT[[0, 0, 1, 0, 0]]
    boxes = [[], [(0, 0, 4, 2)], [(2, 0, 4, 2)], [(-3, -3, 99, 99)], LEFT]
    names = ["none", "all", "cold", "more", "fine"]
    found = context_ratio(maps, boxes, names=names, classes=["cat", "cat", "dog", "dog", "cat"])
    assert found.left_out == {
        "no box": ("none",),
        "boxes cover everything": ("all", "more"),
        "no positive relevance inside": ("cold",),
    }
    assert found.ratios.isnan().tolist() == [True, True, True, True, False]
    cat, dog = found.by_class()
    assert (cat.name, cat.images, cat.mean) == ("cat", 1, 0.125) and math.isnan(cat.spread)
    assert cat.left_out["no box"] == ("none",) and cat.left_out["boxes cover everything"] == (
        "all",
    )
    assert (dog.name, dog.images) == ("dog", 0) and math.isnan(dog.mean)
    assert dog.left_out["no positive relevance inside"] == ("cold",)
    table = found.to_frame({"cat": 0.9})
    assert table["images"].tolist() == [1, 0]
    assert table["no box"].tolist() == [1, 0]
    assert table["average precision"][0] == 0.9 and math.isnan(table["average precision"][1])


def test_a_table_without_classes_has_one_row():
    table = context_ratio(HEAT, [LEFT, LEFT]).to_frame()
    assert table["mean"].tolist() == [pytest.approx(0.0625)] and table["class"].tolist() == ["all"]
    with pytest.raises(InvalidInput, match="classes are not known"):
        context_ratio(HEAT, [LEFT, LEFT]).by_class()


@settings(max_examples=50, deadline=None)
@given(
    left=st.integers(0, 4),
    top=st.integers(0, 4),
    width=st.integers(1, 3),
    height=st.integers(1, 3),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_neither_scale_nor_negative_relevance_matter(left, top, width, height, scale, seed):
    maps = torch.rand(1, 7, 8, generator=torch.Generator().manual_seed(seed)) - 0.3
    boxes = [[(left, top, left + width, top + height)]]
    found = context_ratio(maps, boxes).ratios
    scaled = context_ratio(maps * scale, boxes).ratios
    signed = context_ratio(torch.where(maps < 0, maps * 7, maps), boxes).ratios
    torch.testing.assert_close(found, scaled, equal_nan=True, rtol=1e-5, atol=0)
    torch.testing.assert_close(found, signed, equal_nan=True)
    same = context_ratio(torch.ones(1, 7, 8), boxes).ratios
    torch.testing.assert_close(same, torch.ones(1, dtype=torch.float64))


def test_box_covers_the_pixels_whose_centre_it_covers():
    assert box_mask([(1, 0, 3, 1)], 2, 4).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]
    assert box_mask([(0.6, 0, 1.6, 2)], 1, 3).tolist() == [[0, 1, 0]]
    assert box_mask([(-5, -5, 1, 1)], 2, 2).tolist() == [[1, 0], [0, 0]]
    assert not box_mask([], 2, 2).any()


@pytest.mark.parametrize("box", [(0, 0, 0, 1), (2, 0, 1, 1), (0, 0, 1), (0, 0, float("nan"), 1)])
def test_boxes_that_are_none(box):
    with pytest.raises(InvalidInput, match=r"must be \(left, top, right, bottom\)"):
        context_ratio(HEAT, [[box], LEFT])


def test_numbers_that_do_not_match():
    with pytest.raises(InvalidInput, match="there are 2 images and 1 lists of boxes"):
        context_ratio(HEAT, [LEFT])
    with pytest.raises(InvalidInput, match="2 images and 3 classes"):
        context_ratio(HEAT, [LEFT, LEFT], classes=[1, 2, 3])
    with pytest.raises(InvalidInput, match="names must differ"):
        context_ratio(HEAT, [LEFT, LEFT], names=["a", "a"])
    with pytest.raises(InvalidInput, match=r"expected \[N, H, W\]: pool channels first"):
        context_ratio(HEAT[:, None], [LEFT, LEFT])
    with pytest.raises(InvalidInput, match="NaN"):
        context_ratio(HEAT / 0, [LEFT, LEFT])


def test_models_side_by_side():
    one = context_ratio(HEAT, [LEFT, LEFT], classes=["cat", "dog"])
    two = context_ratio(HEAT[:1] + 1, [LEFT], classes=["cat"])
    figure = context_figure({"FV": one, "DNN": two})
    figure.savefig(io.BytesIO(), format="png")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["cat", "dog"]
    heights = [bar.get_height() for bar in ax.patches]
    assert heights[:2] == [0.125, 0] and len(heights) == 3
    with pytest.raises(InvalidInput, match="no model is given"):
        context_figure({})
