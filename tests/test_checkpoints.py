"""`relprop.compare_checkpoints`: heatmap quality against accuracy."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import relprop
from relprop.errors import InvalidInput, StoreMismatch, UnknownName

SETTINGS = {"region": 3, "repeats": 2, "steps": 4}
SHARES = {"early": -0.05, "middle": 0.05, "late": 0.1, "last": 0.2}


def network(share: float) -> nn.Module:
    """Class 0 is what stands in the middle, class 1 in the corner; `share` of it is learned."""
    conv = nn.Conv2d(1, 2, 9)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(1)) * 0.1)
        conv.bias.fill_(1.0)
        conv.weight[0, 0, 3:6, 3:6] += share
        conv.weight[1, 0, 0:3, 0:3] += share
    return nn.Sequential(conv, nn.Flatten()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    images = torch.rand(12, 1, 9, 9, generator=torch.Generator().manual_seed(0)) * 0.5
    images[:6, :, 3:6, 3:6] += 0.5
    images[6:, :, 0:3, 0:3] += 0.5
    return images


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.tensor([0] * 6 + [1] * 6)


@pytest.fixture(scope="module")
def found(images, labels):
    models = {name: network(share) for name, share in SHARES.items()}
    ways = {"lrp": "epsilon", "opposite": lambda images, classes: -images[:, 0]}
    return relprop.compare_checkpoints(models, images, labels, ways, **SETTINGS)


def test_rows_hold_what_was_measured(found, images, labels) -> None:
    assert [(row["method"], row["checkpoint"]) for row in found.rows] == [
        (method, name) for method in ("lrp", "opposite") for name in SHARES
    ]
    for row in found.rows[:4]:
        scores = network(SHARES[row["checkpoint"]])(images)
        assert row["accuracy"] == pytest.approx(float((scores.argmax(1) == labels).float().mean()))
        assert row["score"] == pytest.approx(float(scores.amax(1).mean()), rel=1e-6)
        over = found.curves[row["checkpoint"], "lrp"].over(found.random[row["checkpoint"]])
        assert row["over_random"] == pytest.approx(over.value)
        assert row["over_random_low"] == pytest.approx(over.low, rel=0.1)
        assert row["over_random_high"] == pytest.approx(over.high, rel=0.1)
        assert row["relative"] == pytest.approx(over.value / row["score"])
        assert row["relative_low"] <= row["relative"] <= row["relative_high"]
    assert len(found.to_frame()) == 8
    assert "early" in str(found)


def test_heatmaps_get_better_with_the_network(found) -> None:
    better, worse = found.spearman["lrp"], found.spearman["opposite"]
    assert better.value > 0.9 > better.low
    assert worse.value < 0


@pytest.mark.parametrize("measure", ["over_random", "relative", "score"])
def test_correlation_is_spearmans(found, measure) -> None:
    rows = [row for row in found.rows if row["method"] == "lrp"]
    wanted = spearmanr([r["accuracy"] for r in rows], [r[measure] for r in rows]).statistic
    assert found.correlation("lrp", measure).value == pytest.approx(wanted)


def test_accuracy_from_elsewhere_is_held_fixed(images, labels) -> None:
    models = {name: network(share) for name, share in SHARES.items()}
    given = dict(zip(SHARES, (0.9, 0.5, 0.2, 0.1), strict=True))
    found = relprop.compare_checkpoints(
        models, images, labels, ["epsilon"], accuracy=given, **SETTINGS
    )
    assert found.accuracy == given
    assert found.spearman["epsilon"].value < -0.9


def test_equal_checkpoints_have_no_correlation(images, labels) -> None:
    models = dict.fromkeys("abc", network(1))
    found = relprop.compare_checkpoints(models, images, labels, ["epsilon"], **SETTINGS)
    assert np.isnan(found.spearman["epsilon"].value)


def test_one_model_at_a_time(images, labels, found) -> None:
    held = []

    def load(name):
        held.append(name)
        return network(SHARES[name])

    names = list(SHARES)
    ways = {"lrp": "epsilon"}
    loaded = relprop.compare_checkpoints(names, images, labels, ways, load=load, **SETTINGS)
    assert held == names
    assert loaded.rows == found.rows[:4]


def test_a_target_for_all(images, labels) -> None:
    models = {"early": network(0.0)}
    way = {"lrp": "epsilon"}
    found = relprop.compare_checkpoints(models, images, labels, way, target=labels, **SETTINGS)
    wanted = models["early"](images)[torch.arange(12), labels].mean()
    assert found.rows[0]["score"] == pytest.approx(float(wanted), rel=1e-6)


def test_a_run_goes_on(images, labels, found, tmp_path) -> None:
    models = {name: network(share) for name, share in SHARES.items()}
    for _ in range(2):
        again = relprop.compare_checkpoints(
            models, images, labels, {"lrp": "epsilon"}, resume=tmp_path, **SETTINGS
        )
        assert again.rows == found.rows[:4]
    with pytest.raises(StoreMismatch):
        relprop.compare_checkpoints(
            models, images + 1, labels, {"lrp": "epsilon"}, resume=tmp_path, **SETTINGS
        )


def test_a_figure_shows_every_method(found) -> None:
    (axes,) = found.figure("relative").axes
    assert axes.get_xlabel() == "accuracy (%)"
    assert len(axes.containers) == 2
    points = axes.containers[0].lines[0].get_xdata()
    assert list(points) == [100 * found.accuracy[name] for name in SHARES]


def test_a_checkpoint_without_a_score_makes_the_correlation_unknown(images, labels) -> None:
    """Its share of the score is 0/0, which has no rank."""
    models = {name: network(share) for name, share in SHARES.items()}
    dead = models[[*models][1]]
    for parameter in dead.parameters():
        parameter.requires_grad_(False).zero_()
    found = relprop.compare_checkpoints(models, images, labels, ["gradient"], **SETTINGS)
    assert np.isnan(found.correlation("gradient", "relative").value)
    assert not np.isnan(found.correlation("gradient", "score").value)


def test_what_is_refused(images, labels, found) -> None:
    models = {"a": network(1), "b": network(2)}

    def compare(checkpoints=models, labels=labels, methods=("epsilon",), **options):
        return relprop.compare_checkpoints(
            checkpoints, images, labels, methods, **SETTINGS, **options
        )

    with pytest.raises(InvalidInput, match="load="):
        compare(["a", "b"])
    with pytest.raises(InvalidInput, match="load="):
        compare(load=network)
    with pytest.raises(InvalidInput, match="each another"):
        compare(["a", "a"], load=network)
    with pytest.raises(InvalidInput, match="12 integers"):
        compare(labels=labels[:3])
    with pytest.raises(InvalidInput, match="no methods"):
        compare(methods=[])
    with pytest.raises(InvalidInput, match=r"nothing about \['b'\]"):
        compare(accuracy={"a": 0.5})
    with pytest.raises(InvalidInput, match=r"accuracy of \['a'\] is no finite number"):
        compare(accuracy={"a": float("nan"), "b": 0.5})
    with pytest.raises(InvalidInput, match="3 checkpoints"):
        compare().spearman  # noqa: B018
    with pytest.raises(UnknownName, match="over_random"):
        found.correlation("lrp", "nonsense")
    with pytest.raises(UnknownName, match="opposite"):
        found.correlation("nonsense")
