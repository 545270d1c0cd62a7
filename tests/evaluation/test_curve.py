import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relprop.errors import InvalidInput
from relprop.evaluation import (
    Curve,
    abpc,
    curve_figure,
    deletion,
    estimate,
    insertion,
    rank_correlation,
    region_perturbation,
)
from relprop.evaluation import estimate as a_function
from tests.evaluation.exact import exact_model, images_of_eighths

IMAGES = images_of_eighths(6, 1, 6, 6)
MODEL = exact_model(1, 6, 6)
HEATMAPS = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(2))


def curve(order="morf", *, images=IMAGES, heatmaps=HEATMAPS, **options):
    options = {"region": 2, "steps": None, "repeats": 3, "value_range": (-2, 2), **options}
    return region_perturbation(MODEL, images, heatmaps, order=order, **options)


def by_hand(scores, settings=None):
    scores = torch.tensor(scores)
    settings = {"order": "morf", "steps": scores.shape[2] - 1, "per_step": 1, **(settings or {})}
    return Curve(
        scores=scores,
        predicted=torch.zeros(scores.shape, dtype=torch.int32),
        target=torch.zeros(scores.shape[1], dtype=torch.int64),
        keys=torch.arange(scores.shape[1]),
        settings=settings,
    )


def test_aopc_is_equation_3_6():
    """Two repeats, three images, two steps."""
    scores = [[[5, 3, 1], [2, 2, 2], [4, 0, -4]], [[5, 4, 3], [2, 1, 0], [4, 4, 4.0]]]
    found = by_hand(scores)
    expected = 0.0
    for repeat in scores:
        for image in repeat:
            expected += sum(image[0] - f for f in image) / (len(image) * 3 * 2)
    assert found.aopc == pytest.approx(expected)
    torch.testing.assert_close(
        found.per_image, torch.tensor([(6 + 3) / 6, 3 / 6, 12 / 6], dtype=torch.float64)
    )


def test_the_interval_is_that_of_the_mean():
    """Of normal figures: near the textbook's, and seeded."""
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double() * 3 + 10
    found = estimate(values)
    half = 1.96 * float(values.std()) / 20
    assert found.value == pytest.approx(float(values.mean()))
    assert found.low == pytest.approx(found.value - half, abs=0.05)
    assert found.high == pytest.approx(found.value + half, abs=0.05)
    assert found.interval == estimate(values).interval != estimate(values, seed=1).interval
    assert float(found) == found.value
    alone = estimate(torch.tensor([3.0]))  # one image says nothing about others
    assert alone.value == 3 and str(alone) == "3 [nan, nan]"


def test_intervals_cover_the_truth_as_often_as_they_say():
    drawn = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(200):
        found = a_function(torch.rand(50, generator=drawn).double() ** 2)
        hits += found.low <= 1 / 3 <= found.high
    assert 180 <= hits <= 199  # 95 %, give or take three standard deviations


def test_a_curve_over_another_is_paired():
    morf, random = curve(), curve("random")
    found = morf.over(random)
    assert found.value == pytest.approx(morf.aopc - random.aopc)
    torch.testing.assert_close(found.per_image, morf.per_image - random.per_image)
    same = morf.over(curve())
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert morf.interval == (morf.estimate.low, morf.estimate.high)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": 3}, "differ in region: 2 and 3"),
        ({"seed": 1}, "differ in seed: 0 and 1"),
        ({"fill": 0.0}, "differ in fill: 'uniform' and '0'"),
        ({"value_range": (0, 1)}, "differ in range"),
        ({"output": "probability"}, "differ in output"),
        ({"steps": 3}, "differ in steps: 9 and 3"),
        ({"repeats": 4}, r"are \[repeats, N, steps \+ 1\] = \[3, 6, 10\] and \[4, 6, 10\]"),
        ({"target": 2}, "come from other targets"),
        ({"images": IMAGES.flip(0)}, "other images, or the same in another order"),
        ({"images": IMAGES[:3], "heatmaps": HEATMAPS[:3]}, r"\[3, 6, 10\] and \[3, 3, 10\]"),
    ],
)
def test_curves_that_do_not_belong_together(options, message):
    for compare in (lambda a, b: a.over(b), abpc):
        with pytest.raises(InvalidInput, match=message):
            compare(curve(), curve("lerf", **options))


def test_area_between_the_curves():
    morf, lerf = curve(), curve("lerf")
    by_steps = (lerf.scores.double() - morf.scores.double()).mean((0, 2))
    assert abpc(morf, lerf).value == pytest.approx(float(by_steps.mean()))
    with pytest.raises(InvalidInput, match="needs a curve with order 'morf'; it was given 'lerf'"):
        abpc(lerf, morf)


def test_insertion_and_deletion_are_areas_under_curves():
    scores = [[[4.0, 2.0, 0.0]]]
    assert deletion(by_hand(scores)).value == 2
    lerf = by_hand(scores, {"order": "lerf", "regions": 2})
    assert insertion(lerf).value == 2
    with pytest.raises(InvalidInput, match="stops after 2 of 9: make it with steps=None"):
        insertion(by_hand(scores, {"order": "lerf", "regions": 9}))
    with pytest.raises(InvalidInput, match="order 'lerf'; it was given 'morf'"):
        insertion(by_hand(scores))


def test_insertion_puts_the_most_relevant_back_first():
    """Scored by hand: from an image that is all zeros, regions return in order of relevance."""
    lerf = curve("lerf", fill=0.0, repeats=1)
    for i in range(6):
        sums = HEATMAPS[i].double().view(3, 2, 3, 2).sum((1, 3)).flatten()
        image, outputs = torch.zeros(1, 1, 6, 6), []
        target = MODEL(IMAGES[i : i + 1]).argmax()
        for region in [None, *sums.argsort(descending=True).tolist()]:
            if region is not None:
                row, column = divmod(region, 3)
                place = (..., slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
                image[place] = IMAGES[i : i + 1][place]
            outputs.append(float(MODEL(image)[0, target]))
        area = np.trapezoid(outputs) / 9
        assert float(insertion(lerf).per_image[i]) == pytest.approx(area)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(-3, 3), min_size=3, max_size=8), data=st.data())
def test_rank_correlation_is_spearmans(values, data):
    from scipy.stats import spearmanr

    other = data.draw(st.permutations(values))
    names = [str(k) for k in range(len(values))]
    table = {
        "a": dict(zip(names, values, strict=True)),
        "b": dict(reversed(list(zip(names, other, strict=True)))),
    }
    found = rank_correlation(table)["a"]["b"]
    if len(set(values)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(values, other).statistic)


def test_rankings_need_the_same_methods():
    with pytest.raises(InvalidInput, match=r"'a' has methods \['x', 'y'\], 'b' has \['x'\]"):
        rank_correlation({"a": {"x": 1, "y": 2}, "b": {"x": 1}})
    with pytest.raises(InvalidInput, match="two methods at least; there are 1"):
        rank_correlation({"a": {"x": 1}})
    with pytest.raises(InvalidInput, match="there are 0"):
        rank_correlation({})


def test_a_table_has_a_row_a_step():
    found = curve()
    table = found.to_frame()
    assert list(table.columns) == ["step", "score", "drop", "low", "high", "flipped"]
    assert len(table) == 10
    assert table["drop"].mean() == pytest.approx(found.aopc)
    assert ((table["low"] <= table["drop"]) & (table["drop"] <= table["high"])).all()
    assert table["flipped"].is_monotonic_increasing and table["flipped"][0] == 0
    assert table["score"][0] == pytest.approx(float(MODEL(IMAGES).amax(1).mean()))


def test_saved_and_loaded(tmp_path):
    found = curve(region=4, steps=1)
    loaded = Curve.load(found.save(tmp_path / "curve.npz"))
    for name in ("scores", "predicted", "target", "keys"):
        assert torch.equal(getattr(found, name), getattr(loaded, name))
    assert loaded.notes == found.notes and len(found.notes) == 1
    assert loaded.aopc == found.aopc and loaded.over(found).value == 0
    assert repr(loaded) == repr(found)
    assert repr(found).startswith("Curve(6 images, 3 repeats, 1 steps, AOPC ")


def test_files_that_are_no_curves(tmp_path):
    with pytest.raises(InvalidInput, match=r"saved as .npz, got 'curve.csv'"):
        curve().save(tmp_path / "curve.csv")
    with pytest.raises(InvalidInput, match="is not a curve that relprop saved"):
        Curve.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(InvalidInput, match="is not a curve that relprop saved"):
        Curve.load(tmp_path / "other.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InvalidInput, match="is not a curve that relprop saved"):
        Curve.load(tmp_path / "torn.npz")


def test_curves_are_drawn_with_bands():
    curves = {"ours": curve(), "worst": curve("lerf")}
    random = curve("random")
    figure = curve_figure(curves, over=random)
    figure.savefig(io.BytesIO(), format="png")
    ax = figure.axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines if line.get_label() in curves}
    expected = (curves["ours"].drops - random.drops).mean((0, 1)).numpy()
    np.testing.assert_allclose(drawn["ours"], expected)
    assert len(ax.collections) == 2
    np.testing.assert_allclose(
        curve_figure(curves).axes[0].lines[0].get_ydata(), curves["ours"].drops.mean((0, 1))
    )
    with pytest.raises(InvalidInput, match="nothing to draw"):
        curve_figure({})
