"""`relprop.evaluate`: methods compared on one model."""

import pytest
import torch
from torch import nn

import relprop
from relprop.comparing import heatmaps_by, scores_of
from relprop.errors import InvalidInput, RelpropError, StoreMismatch, UnknownName


@pytest.fixture
def model() -> nn.Module:
    """The score is ten times what stands in the middle of the image; a softmax ends it."""
    middle = nn.Conv2d(1, 2, 9, bias=False)
    with torch.no_grad():
        middle.weight.zero_()
        middle.weight[0, 0, 3:6, 3:6] = 10
        middle.weight[1, 0, 0:3, 0:3] = 1
    return nn.Sequential(middle, nn.Flatten(), nn.Softmax(1)).eval().requires_grad_(False)


@pytest.fixture
def images() -> torch.Tensor:
    """Bright in the middle."""
    images = torch.rand(5, 1, 9, 9, generator=torch.Generator().manual_seed(0)) * 0.2
    images[:, :, 3:6, 3:6] += 1
    return images


SETTINGS = {"region": 3, "repeats": 2, "fills": ["uniform", "mean", "blur"]}


def test_a_method_that_knows_beats_one_that_does_not(model, images) -> None:
    ways = {"lrp": "epsilon", "wrong": lambda images, classes: -images[:, 0]}
    found = relprop.evaluate(model, images, ways, **SETTINGS)
    best, worst = found.ranked("uniform")
    assert best["method"] == "lrp"
    assert best["over_random_low"] > worst["over_random_high"]
    assert len(found.rows) == 2 * 3
    assert set(found.agreement()) == set(SETTINGS["fills"])
    assert "lrp" in str(found)
    assert list(found.to_frame()["fill"].unique()) == SETTINGS["fills"]


def test_scores_come_before_the_softmax(model, images) -> None:
    assert torch.allclose(scores_of(model, images[:1])(images), model[:2](images), rtol=1e-5)
    bare = model[:2]
    assert torch.equal(scores_of(bare, images[:1])(images), bare(images))


@pytest.mark.parametrize("name", ["epsilon", "lrp", "lrp:epsilon", "sensitivity"])
def test_notations(model, images, name) -> None:
    assert heatmaps_by(model, name)(images, torch.zeros(5, dtype=torch.long)).shape == (5, 9, 9)


def test_rules_presets_and_callables(model, images) -> None:
    classes = torch.zeros(5, dtype=torch.long)
    wanted = heatmaps_by(model, "epsilon")(images, classes)
    rule = heatmaps_by(model, relprop.Epsilon())(images, classes)
    assert torch.allclose(rule, wanted)
    assert torch.equal(heatmaps_by(model, lambda x, c: wanted)(images, classes), wanted)


def test_a_name_with_options(model, images) -> None:
    classes = torch.zeros(5, dtype=torch.long)
    found = heatmaps_by(model, ("integrated-gradients", {"reference": 1.0}))(images, classes)
    expected = (images[:, 0] - 1) * model[0].weight[0, 0]  # the model is linear
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UnknownName, match="nonsense"):
        heatmaps_by(model, ("nonsense", {}))


def test_several_regions_go_at_once(model, images) -> None:
    found = relprop.evaluate(model, images, ["epsilon"], **SETTINGS, per_step=2)
    curve = found.curves["mean", "morf", "epsilon"]
    assert curve.scores.shape[2] == 1 + 5  # nine regions
    single = relprop.evaluate(model, images, ["epsilon"], **SETTINGS)
    every = single.curves["mean", "morf", "epsilon"].scores
    assert torch.allclose(curve.scores, every[:, :, [0, 2, 4, 6, 8, 9]], rtol=1e-5, atol=1e-6)


def test_what_is_refused(model, images) -> None:
    with pytest.raises(UnknownName, match="nonsense"):
        relprop.evaluate(model, images, ["nonsense"])
    with pytest.raises(UnknownName, match="nonsense"):
        relprop.evaluate(model, images, ["lrp:nonsense"])
    for options, message in [
        ({"batch_size": 0}, "batch_size"),
        ({"fills": ()}, "no fills"),
        ({"target": [0, 1]}, "one for each of 5 images"),
        ({"target": "all"}, "target must be a class"),
    ]:
        with pytest.raises(RelpropError, match=message):
            relprop.evaluate(model, images, ["epsilon"], **{**SETTINGS, **options})
    with pytest.raises(InvalidInput, match="images must be"):
        relprop.evaluate(model, None, ["epsilon"])
    with pytest.raises(InvalidInput, match="no methods"):
        relprop.evaluate(model, images, [])
    with pytest.raises(InvalidInput, match="3 is no method"):
        relprop.evaluate(model, images, {"a": 3})
    with pytest.raises(InvalidInput, match="heatmaps of shape"):
        relprop.evaluate(model, images, {"a": lambda x, c: x}, **SETTINGS)


def test_a_run_with_other_options_is_not_gone_on_with(model, images, tmp_path) -> None:
    """Also where the options are tensors that print alike."""
    references = [torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 40, 40)]
    references[1][:, :, 10:-10, 10:-10] = 1
    large = nn.functional.interpolate(images, (40, 40))
    wide = nn.Sequential(nn.AdaptiveAvgPool2d(9), *model).eval()

    def run(reference):
        ways = {"ig": ("integrated-gradients", {"reference": reference, "steps": 4})}
        return relprop.evaluate(wide, large, ways, region=10, repeats=1, resume=tmp_path)

    assert repr(references[0]) == repr(references[1])
    assert run(references[0]).rows == run(references[0].clone()).rows
    with pytest.raises(StoreMismatch, match="another method"):
        run(references[1])


def test_models_with_a_single_output(model, images) -> None:
    """`[N]`, as a regressor gives it."""
    ways = {"ig": "integrated-gradients", "lrp": "epsilon", "wrong": lambda x, c: -x[:, 0]}
    found = relprop.evaluate(lambda x: model[:2](x)[:, 0], images, ways, **SETTINGS)
    row = {row["method"]: row for row in found.rows if row["fill"] == "mean"}
    assert row["ig"]["over_random"] == pytest.approx(row["lrp"]["over_random"])
    assert row["lrp"]["over_random_low"] > row["wrong"]["over_random_high"]


def test_damaged_heatmaps_are_made_again(model, images, tmp_path) -> None:
    once = relprop.evaluate(model, images, ["epsilon"], **SETTINGS, resume=tmp_path)
    (kept,) = tmp_path.glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    again = relprop.evaluate(model, images, ["epsilon"], **SETTINGS, resume=tmp_path)
    assert again.rows == once.rows


def test_settings_are_looked_at_before_any_map_is_made(model, images) -> None:
    def never(images, classes):
        raise AssertionError

    with pytest.raises(UnknownName, match="blurr"):
        relprop.evaluate(model, images, {"a": never}, region=3, fills=["blurr"])
    with pytest.raises(InvalidInput, match="steps is 80"):
        relprop.evaluate(model, images, {"a": never}, region=3, steps=80)


def test_a_run_goes_on(model, images, tmp_path) -> None:
    calls = []

    def method(images, classes):
        calls.append(len(images))
        return images[:, 0]

    once = relprop.evaluate(model, images, {"mine": method}, **SETTINGS)
    relprop.evaluate(model, images, {"mine": method}, **SETTINGS, resume=tmp_path)
    again = relprop.evaluate(model, images, {"mine": method}, **SETTINGS, resume=tmp_path)
    assert again.rows == once.rows
    assert calls == [1, 5, 1, 5]  # the first image warms up
    with pytest.raises(StoreMismatch, match="other"):
        relprop.evaluate(model, images + 1, {"mine": method}, **SETTINGS, resume=tmp_path)
