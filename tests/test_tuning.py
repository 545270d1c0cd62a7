"""Tuning: the search finds what is there to find, and what it says holds on other images."""

import math

import pytest
import torch
from torch import nn

import relprop
from relprop import AlphaBeta, Box, Epsilon, Flat, Gamma, data, evaluation, models, where
from relprop.errors import InvalidInput, InvalidRule, InvalidTarget, StoreMismatch, UnknownName
from relprop.evaluation.estimate import estimate
from relprop.layer_groups import LayerGroup, Layout, with_rules
from relprop.propagation.positions import WEIGHTED
from relprop.rule_search import Search, rungs
from relprop.tuned import Tuned

AREAS = {"region": 8, "steps": 4, "per_step": 2}
SETTINGS = {**AREAS, "fills": ("uniform", "blur"), "starts": 1, "rounds": 1}
FEW = {"input": [Flat(), Gamma(0.1)], "convolution": [Gamma(0.25), Epsilon(0.25, relative=True)]}


@pytest.fixture(scope="module")
def lenet():
    return models.load("lenet5")


@pytest.fixture(scope="module")
def digits(lenet):
    return torch.stack([lenet.preprocessing(digit) for digit in data.sample_digits()[0]])


@pytest.fixture(scope="module")
def tuned(lenet, digits):
    return relprop.tune(lenet, digits, candidates=FEW, **SETTINGS)


def layout_of(name):
    model = models.load(name, pretrained=False)
    channels, size = model.preprocessing.channels, model.preprocessing.size
    image = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))
    return Layout(model, image)


THIRDS = ["lower convolutions", "middle convolutions", "upper convolutions"]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("lenet5", ["input", *THIRDS]),
        ("mlp-relu", ["input", "dense layers"]),
        ("cifar10-vgg", ["input", *THIRDS, "dense layers"]),
        ("squeezenet", ["input", *THIRDS]),
    ],
)
def test_every_layer_is_in_one_group(name, names):
    layout = layout_of(name)
    groups = layout.groups()
    assert [group.name for group in groups] == names
    sites = [step.site for step in layout.plan(layout.default).steps]
    layers = [site for site in sites if site.kind in WEIGHTED]
    for site in layers:
        assert sum(group.predicate(site) for group in groups) == 1
    sizes = [sum(map(group.predicate, layers)) for group in groups if "convol" in group.name]
    assert not sizes or max(sizes) - min(sizes) <= len(layers) // 6


def test_two_convolutions_are_two_groups():
    model = nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(3)), nn.Flatten())
    groups = Layout(model, torch.ones(1, 1, 9, 9)).groups()
    assert [group.name for group in groups] == ["input", "lower convolutions", "upper convolutions"]


def test_chosen_rules_stand_where_they_were_chosen_for_and_nowhere_else():
    layout = layout_of("cifar10-vgg")
    middle, dense = layout.groups()[2], layout.groups()[4]
    preset = with_rules(relprop.presets()["thesis"], {middle: Gamma(0.7), dense: Epsilon(3.0)})
    before = {s.module: s.rule for s in layout.plan(relprop.presets()["thesis"]).steps}
    for step in layout.plan(preset).steps:
        expected = before[step.module]
        expected = Gamma(0.7) if step.module in ("conv2_1", "conv2_2") else expected
        expected = Epsilon(3.0) if step.site.kind == "dense" else expected
        assert step.rule == expected, step.module


def test_entries_that_decide_nothing_are_left_out(lenet, digits):
    layout = Layout(lenet, digits[:1])
    input_, lower = layout.groups()[:2]
    whole = with_rules(relprop.presets()["montavon2019"], {input_: Flat(), lower: Gamma(0.5)})
    short = layout.trimmed(whole)
    assert len(short.entries) < len(whole.entries)
    maps = [relprop.explain(lenet, digits[:3], rules=p).relevance for p in (whole, short)]
    assert torch.equal(*maps)


@pytest.mark.parametrize(
    ("images", "expected"), [(4, [4]), (23, [23]), (24, [8, 24]), (150, [16, 50, 150])]
)
def test_rungs(images, expected):
    assert rungs(images) == expected


class Planted:
    """Areas that are known: each rule is worth something in each group, and images differ."""

    def __init__(self, worth, groups, images):
        self.images = torch.zeros(images)
        self.worth, self.groups = worth, groups
        self.asked = {}  # preset -> on how many images at most
        self.noise = torch.randn(1, images, generator=torch.Generator().manual_seed(1))

    def of(self, preset, images):
        chosen = dict(preset.entries)
        rules = [chosen.get(group.predicate) for group in self.groups]
        if Box() in rules:
            raise InvalidRule("the bounds are unknown")
        self.asked[preset] = max(images, self.asked.get(preset, 0))
        pairs = zip(self.groups, rules, strict=True)
        value = sum(self.worth[group.name].get(rule, 0) for group, rule in pairs)
        return value + self.noise[:, :images]


def planted(images=90):
    rules = (Box(), Flat(), *(Gamma(g / 10) for g in range(1, 8)))
    groups = [LayerGroup(name, where(module=name), rules) for name in ("input", "middle", "upper")]
    worth = {
        "input": {Flat(): 1.0, Gamma(0.1): 0.5},
        "middle": {Gamma(0.6): 2.0, Gamma(0.5): 1.9},
        "upper": dict.fromkeys(rules, -1.0),
    }
    return Planted(worth, groups, images), groups


def test_the_search_finds_the_planted_rules():
    areas, groups = planted()
    search = Search(areas, groups, seed=0)
    bare = relprop.Preset([], name="bare")
    best, shipped = search.best([bare], starts=1, rounds=2)
    chosen = dict(best.entries)
    assert chosen == {groups[0].predicate: Flat(), groups[1].predicate: Gamma(0.6)}
    assert shipped.name == "bare"
    kept = [(t.stage, t.tried) for t in search.trials if t.kept]
    assert ("presets", "bare") in kept and len(kept) == 3
    boxes = [t for t in search.trials if t.tried.startswith("Box")]
    assert len(boxes) == 6 and all("bounds are unknown" in t.reason for t in boxes)
    assert all(math.isnan(t.abpc) and not t.kept for t in boxes)


def test_the_search_is_economical():
    """Most candidates see a ninth of the images, and few of them all."""
    areas, groups = planted()
    Search(areas, groups, seed=0).best([relprop.Preset([], name="bare")], starts=1, rounds=1)
    asked = list(areas.asked.values())
    assert asked.count(10) > asked.count(30) > 0
    assert sum(asked) < 0.5 * 90 * len(asked)


def test_a_better_start_is_gone_on_from():
    areas, groups = planted()
    good = relprop.Preset([(groups[0].predicate, Flat())], name="good")
    poor = relprop.Preset([(groups[2].predicate, Flat())], name="poor")
    search = Search(areas, groups, seed=0)
    search.best([poor, good], starts=1, rounds=1)
    assert {t.stage.partition(",")[0] for t in search.trials} == {"presets", "good"}


def test_the_gain_is_that_of_pairs_on_images_held_back(lenet, digits, tuned):
    """Made again with `evaluate`, on the images that `seed` holds back."""
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    held_back = digits[order[:10]]
    assert (tuned.searched, tuned.held_back) == (10, 10)
    curves = {}
    for fill in ("uniform", "blur"):
        for name, rules in (("found", tuned.found), ("default", None)):
            explanation = relprop.explain(lenet, held_back, rules=rules)
            maps = explanation.relevance.sum(1)
            for order_ in ("morf", "lerf"):
                curves[fill, name, order_] = evaluation.region_perturbation(
                    *(lenet, held_back, maps),
                    **AREAS,
                    **{"order": order_, "fill": fill, "repeats": 1},
                    value_range=(digits.amin(), digits.amax()),
                ).per_image
    differences = torch.stack(
        [
            (curves[fill, "found", "morf"] - curves[fill, "found", "lerf"])
            - (curves[fill, "default", "morf"] - curves[fill, "default", "lerf"])
            for fill in ("uniform", "blur")
        ]
    )
    assert tuned.gain.value == pytest.approx(float(differences.mean()), abs=1e-4)
    assert tuned.gain.interval == pytest.approx(estimate(differences.mean(0)).interval, abs=1e-4)
    for fill, difference in zip(("uniform", "blur"), differences, strict=True):
        assert tuned.gains[fill].value == pytest.approx(float(difference.mean()), abs=1e-4)
        found, default = tuned.areas[fill]
        assert found.value - default.value == pytest.approx(float(difference.mean()), abs=1e-4)


def test_the_default_is_beaten_on_digits(tuned, tmp_path):
    """So it is in the study, over more images."""
    assert tuned.default.name == "thesis" and tuned.beaten
    assert tuned.preset is tuned.found and "beats the default, thesis" in tuned.verdict
    assert relprop.Preset.load(tuned.save(tmp_path / "own.json")) == tuned.found
    assert "tuned from" in tuned.found.description and tuned.verdict in str(tuned)
    frame = tuned.to_frame()
    assert list(frame[frame["stage"] == "presets"]["tried"]) == list(relprop.presets())


def test_the_same_seed_gives_the_same(lenet, digits, tuned):
    again = relprop.tune(lenet, digits, candidates=FEW, **SETTINGS)
    assert again.found == tuned.found and str(again) == str(tuned)


def result(differences, found="tuned"):
    """A result with these gains, image by image, in both fills."""
    default = relprop.presets()["thesis"]
    gain = estimate(torch.as_tensor(differences, dtype=torch.float64))
    return Tuned(
        found=default if found == "thesis" else relprop.Preset([(where(), Flat())], name=found),
        default=default,
        gain=gain,
        gains={"uniform": gain, "blur": estimate(gain.per_image - 1)},
        areas={"uniform": (gain, gain), "blur": (gain, gain)},
        shipped=default,
        over_shipped=gain,
        trials=(),
        searched=4,
        held_back=len(gain.per_image),
    )


def test_a_default_that_is_not_beaten_is_returned():
    unsure = result([1.0, -1.0, 2.0, -1.5, 0.2, 0.1])
    assert not unsure.beaten and unsure.preset is unsure.default
    assert "the default, thesis, is not beaten on 6 images held back" in unsure.verdict
    worse = result([-1.0, -1.2, -0.8])
    assert not worse.beaten and worse.preset is worse.default
    nothing = result([0.0, 0.0, 0.0], found="thesis")
    assert not nothing.beaten and "the search found nothing better" in nothing.verdict


def test_fills_that_say_otherwise_are_named():
    """`blur` has one less than `uniform` here."""
    mixed = result([0.5, 0.6, 0.4, 0.7])
    assert mixed.beaten and mixed.preset is mixed.found
    assert "under blur alone it is worse: -0.45 (" in mixed.verdict
    assert "uniform" not in mixed.verdict
    unsure = result([0.5, 0.6, 1.4, 1.7])
    assert unsure.beaten and "under blur alone that is not sure: 0.05 (" in unsure.verdict
    plain = result([5.0, 6.0, 4.0, 7.0])
    assert plain.verdict.endswith("it gains 5.5 (4.5 to 6.5)")


def test_nothing_to_find(lenet, digits, monkeypatch):
    """Where the default is all there is, it is found."""
    only = {"thesis": relprop.presets()["thesis"]}
    monkeypatch.setattr("relprop.tuning.presets", lambda: only)
    found = relprop.tune(lenet, digits[:6], candidates={"dense": [Flat()]}, **SETTINGS)
    assert found.found is found.default and found.gain.interval == (0.0, 0.0)
    assert "nothing better" in found.verdict


def test_a_shipped_preset_that_is_best_keeps_its_name(lenet, digits):
    found = relprop.tune(lenet, digits, candidates={}, name="mine", **SETTINGS)
    assert found.found is found.shipped and found.over_shipped.interval == (0.0, 0.0)
    assert found.found.name in relprop.presets()
    assert not found.beaten or "it ships, and no rules by group" in found.verdict


def test_a_run_goes_on(lenet, digits, tmp_path, monkeypatch):
    """Finished curves are read, not made again; another run's are refused."""
    arguments = {"candidates": {"input": [Flat(), AlphaBeta(2, -1)]}, "resume": tmp_path}
    first = relprop.tune(lenet, digits[:8], **arguments, **SETTINGS)
    seen = []
    handle = lenet.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    again = relprop.tune(lenet, digits[:8], **arguments, **SETTINGS)
    handle.remove()
    assert str(again) == str(first)
    assert max(seen) <= 8  # explanations and images as they were, no steps: 4 images x 4
    with pytest.raises(StoreMismatch):
        relprop.tune(lenet, digits[:8], **arguments, **SETTINGS, seed=1)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"held_back": 0}, InvalidInput, "0 would be held back"),
        ({"held_back": 0.99}, InvalidInput, "20 would be held back"),
        ({"held_back": math.nan}, InvalidInput, "held_back=nan"),
        ({"fills": ()}, InvalidInput, "no fills"),
        ({"fills": ("nonsense",)}, UnknownName, "unknown fill"),
        ({"starts": 0}, InvalidInput, "starts is 0"),
        ({"rounds": 1.5}, InvalidInput, "rounds is 1.5"),
        ({"region": 33}, InvalidInput, "do not fit"),
        ({"steps": 1000}, InvalidInput, "1000"),
        ({"steps": None, "per_step": 0}, InvalidInput, "per_step"),
        ({"target": [1, 2]}, InvalidTarget, "one for each of 20 images"),
        ({"target": 10}, InvalidTarget, "10"),
        ({"candidates": {"inputs": [Flat()]}}, UnknownName, "unknown group of layers 'inputs'"),
        ({"candidates": {"input": ["flat"]}}, InvalidRule, "must be rules, got 'flat'"),
    ],
)
def test_what_is_refused(lenet, digits, changed, error, said):
    with pytest.raises(error, match=said):
        relprop.tune(lenet, digits, **{**SETTINGS, **changed})


def test_steps_go_on_until_nothing_is_left(lenet, digits):
    found = relprop.tune(
        lenet, digits[:4], candidates={}, **{**SETTINGS, "steps": None, "per_step": 5}
    )
    steps = relprop.tune(
        lenet, digits[:4], candidates={}, **{**SETTINGS, "steps": 4, "per_step": 5}
    )
    assert found.gain.per_image.tolist() == steps.gain.per_image.tolist()


def test_images_of_another_shape(lenet, digits):
    with pytest.raises(InvalidInput, match=r"images must be \[N, C, H, W\]"):
        relprop.tune(lenet, digits[:, 0], **SETTINGS)
