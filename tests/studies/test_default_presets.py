import csv
import sys

import pytest
import torch

import relprop
from relprop import data, models
from studies import cifar10_networks, default_presets, preset_results, train_cifar10
from studies.preset_candidates import CANDIDATES

KIND = default_presets.Kind("lenet5", "mnist", region=7, steps=4, per_step=4)
METHODS = {"thesis": "lrp:thesis", "alpha1beta0": "lrp:alpha1beta0", "random": "random"}


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # process-wide


@pytest.fixture(scope="module")
def lenet():
    return models.load("lenet5")


@pytest.fixture(scope="module")
def digits(lenet):
    return torch.stack([lenet.preprocessing(d) for d in data.sample_digits()[0]])


@pytest.fixture(scope="module")
def gains(lenet, digits, tmp_path_factory):
    return default_presets.gains(lenet, digits, METHODS, KIND, tmp_path_factory.mktemp("pieces"))


@pytest.mark.parametrize("network", ["residual", "gelu"])
def test_the_networks_are_of_the_kind_they_are_called(network):
    model = cifar10_networks.NETWORKS[network]().eval()
    image = torch.randn(2, 3, 32, 32)
    assert model(image).shape == (2, len(model.classes))
    coverage = relprop.Explainer(model).coverage(image)
    operations = {row.operation for row in coverage.rows}
    assert {"aten.add.Tensor", "aten.native_batch_norm.default"} < operations
    assert ("aten.gelu.default" in operations) == (network == "gelu")
    assert not any(row.refused for row in coverage.rows)


@pytest.mark.filterwarnings("ignore:biases and stabilisers")  # random weights
@pytest.mark.parametrize("network", ["residual", "gelu"])
@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_explains_every_network(network, name):
    torch.manual_seed(0)
    model = cifar10_networks.NETWORKS[network]().eval()
    found = relprop.explain(model, torch.randn(1, 3, 32, 32), 3, rules=CANDIDATES[name])
    assert torch.isfinite(found.relevance).all() and found.relevance.abs().sum() > 0


def test_presets_with_the_same_rules_are_measured_once():
    names = default_presets.built_in()
    assert "alpha2beta1" in names and "thesis-ch4" not in names
    assert set(relprop.presets()) - set(names) == {"thesis-ch4"}


def test_presets_are_ahead_of_random_maps(gains):
    for fill in default_presets.FILLS:
        assert gains["alpha1beta0"][fill].mean() > 1 + gains["random"][fill].mean()
        assert len(gains["thesis"][fill]) == len(data.sample_digits()[0])
    assert default_presets.best(gains, [*METHODS]) != "random"
    assert default_presets.best(gains, ["random"]) == "random"


@pytest.mark.parametrize("name", default_presets.KINDS)
def test_the_part_to_choose_on_loses_as_many_regions_in_fewer_steps(name):
    kind = default_presets.KINDS[name]
    coarse = kind.coarse()
    assert coarse.steps == 8 and coarse.steps * coarse.per_step == kind.steps * kind.per_step


def test_views_of_a_photograph_count_as_one(lenet, digits, gains, tmp_path):
    kind = default_presets.Kind("lenet5", "mnist", region=7, steps=4, per_step=4, views=2)
    paired = default_presets.gains(lenet, digits, {"thesis": "lrp:thesis"}, kind, tmp_path)
    for fill, values in paired["thesis"].items():
        single = gains["thesis"][fill]
        torch.testing.assert_close(values, (single[::2] + single[1::2]) / 2)


def test_differences_are_taken_image_by_image(gains):
    for row in preset_results.rows("digits", "held back", gains, "thesis"):
        values = gains[row["method"]][row["fill"]]
        over = values - gains["thesis"][row["fill"]]
        assert row["gain"] == pytest.approx(values.double().mean().item())
        assert row["over_default"] == pytest.approx(over.double().mean().item())
        assert row["over_default_low"] <= row["over_default"] <= row["over_default_high"]
        assert row["method"] != "thesis" or row["over_default_high"] == 0


def test_better_means_under_every_fill_and_held_back():
    def row(part, fill, low):
        return {"part": part, "method": "z", "fill": fill, "over_default_low": low}

    def better(*lines):
        return preset_results.Result("digits", "thesis", "z", "mine", [*lines]).better("z")

    held = row("held back", "uniform", 0.1)
    assert better(held, row("held back", "blur", 0.1), row("choice", "blur", -1))
    assert not better(held, row("held back", "blur", -0.1), row("choice", "blur", 1))


def test_kinds_that_share_a_default_need_a_candidate_that_is_better_for_all_of_them():
    def result(name, default="thesis", **lows):
        lines = [
            {"part": "choice", "method": label, "gain": low, "over_default_low": low}
            for label in CANDIDATES
            for low in lows.get(label.split()[0].lower(), (-1, -1))
        ]
        return preset_results.Result(name, default, "z", "mine", lines)

    first = result("a", gamma=(1, 1), epsilon=(2, 2))
    second = result("b", gamma=(1, 1), epsilon=(2, -0.1))
    other = result("c", default="epsilon", gamma=(-1, -1))
    assert preset_results.better_for_all([first], [*CANDIDATES]).startswith("Epsilon")
    found = default_presets.shared_candidates([first, second, other])
    assert [*found] == ["thesis"] and found["thesis"].startswith("Gamma")
    assert default_presets.shared_candidates([second, result("d")]) == {}


def test_the_overview_marks_what_is_better_or_worse_under_every_fill():
    def rows(method, *over):
        return [
            {"part": "held back", "method": method, "gain": mean}
            | {"over_default": mean, "over_default_low": mean - 1, "over_default_high": mean + 1}
            for mean in over
        ]

    lines = rows("z", 2, 3) + rows("epsilon", 2, 0) + rows("mine", -2, -3)
    lines += [
        line
        for name in [*default_presets.built_in()[2:], *default_presets.OTHERS]
        for line in rows(name, 0, 0)
    ]
    result = preset_results.Result("digits", "thesis", "z", "mine", lines)
    shown = preset_results.overview([result])
    assert "| z | **2.00 / 3.00** |" in shown and "| epsilon | 2.00 / 0.00 |" in shown
    assert "| best candidate | *-2.00 / -3.00* |" in shown
    assert "| digits | z | +2.00 (+1.00 to +3.00) | +3.00 (+2.00 to +4.00) | yes |" in (
        preset_results.verdicts([result])
    )


def test_photographs_are_split_and_cut_at_both_corners():
    pytest.importorskip("skimage")
    kind = default_presets.KINDS["EfficientNet"]
    model = models.load("efficientnet-lite0", pretrained=False)
    choice, held_back = default_presets.images_of(kind, model, 1, 1)
    names = data.photograph_names()
    assert len(choice) + len(held_back) == kind.views * len(names)
    coffee = data.photograph("coffee")  # 400 x 600
    first, last = default_presets.views(coffee, model)
    assert torch.equal(first, model.preprocessing(coffee[:300, :300]))
    assert torch.equal(last, model.preprocessing(coffee[100:, 300:]))
    assert any(torch.equal(first, image) for image in torch.cat([choice, held_back]))


def test_missing_weights_are_trained_and_finished_ones_are_not(tmp_path, monkeypatch):
    settings = train_cifar10.settings_of("residual")
    asked = []

    def train(settings, out, folder):
        asked.append(settings)
        training = train_cifar10.Training(settings, out)
        training.checkpoint()
        training.curve = [{}] * settings.epochs
        training.keep()

    monkeypatch.setattr(train_cifar10, "train", train)
    for _ in range(2):
        model = default_presets.network("residual", tmp_path)
        assert not model.training
    assert asked == [settings]
    assert not train_cifar10.is_finished(train_cifar10.settings_of("residual", epochs=3), tmp_path)


def test_the_script_writes_its_table_and_figure(tmp_path, monkeypatch, capsys, lenet, digits):
    monkeypatch.setitem(default_presets.KINDS, "digits", KIND)
    monkeypatch.setattr(
        default_presets, "images_of", lambda kind, model, *sizes: (digits[:3], digits[3:6])
    )
    few = [*CANDIDATES][:2]
    monkeypatch.setattr(default_presets, "CANDIDATES", {name: CANDIDATES[name] for name in few})
    monkeypatch.setattr(sys, "argv", ["default_presets.py", "--kinds", "digits", "--out"])
    sys.argv.append(str(tmp_path))
    default_presets.main()
    printed = capsys.readouterr().out
    assert "**thesis** (default)" in printed and "held back" in printed
    assert "| best candidate | " in printed and "| better? |" in printed
    lines = list(csv.DictReader((tmp_path / "table.csv").open()))
    held = [line for line in lines if line["part"] == "held back"]
    presets, fills = len(default_presets.built_in()), len(default_presets.FILLS)
    assert len(held) == (presets + 1 + len(default_presets.OTHERS)) * fills
    assert len(lines) - len(held) == (presets + 2) * fills
    assert (tmp_path / "figure.png").stat().st_size > 10_000
