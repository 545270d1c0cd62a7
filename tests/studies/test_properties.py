"""The study of thesis 3.3's properties: each measure on networks whose answer is known."""

import json

import pytest
import torch
from torch import nn

from relprop import data, models
from studies import properties
from studies import property_measures as measures
from studies.property_measures import Setting

SMALL = Setting(images=4, paths=1, steps=8, donors=2, peers=2, negative=3)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """Two classes, the first twice as strong as it would be, the second always nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(drawn(1, 32, 32, seed=3))

    def forward(self, images):
        score = (images * self.weight).sum((1, 2, 3))
        return torch.stack([score + 1000, torch.zeros_like(score)], 1)


@pytest.fixture(scope="module")
def linear():
    """A network, its images, and the map that is right: w (x - what donors have on average)."""
    network = Linear()
    images = measures.prepare(network, drawn(6, 1, 32, 32), Setting(donors=5))
    means = images.pixels[images.donors].mean(1)
    exact = ((images.pixels - means) * network.weight.detach())[:, 0]
    return network, images, exact


def test_regions_are_squares_that_share_out_the_image():
    masks, maps = measures.regions(), drawn(2, 32, 32)
    assert masks.shape == (64, 32, 32) and torch.equal(masks.sum(0), torch.ones(32, 32))
    assert masks[9, 4:8, 4:8].all() and masks[9].sum() == 16
    sums = torch.einsum("nhw,rhw->nr", maps, masks).double()
    torch.testing.assert_close(measures.by_region(maps).sum(2), sums, atol=1e-5, rtol=0)


def test_donors_are_other_images(linear):
    donors = linear[1].donors
    assert all(sorted([*row, image]) == list(range(6)) for image, row in enumerate(donors.tolist()))


def test_effects_of_a_linear_network_are_sums_of_the_exact_map(linear):
    _, images, exact = linear
    found = measures.effects_of(images, Setting(donors=5))
    sums = measures.by_region(exact).sum(2)
    torch.testing.assert_close(found.removal, sums, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.step, sums, atol=0.1, rtol=0)  # float32, times a hundred
    assert (found.reaction > found.step.abs() - 1e-6).all()


def test_the_exact_map_aggregates_and_its_negative_regions_speak_against(linear):
    _, images, exact = linear
    effects = measures.effects_of(images, Setting(donors=5))
    found = measures.aggregation(exact, effects)
    assert float(found["by_sum"]) > 0.999
    assert found["over_maximum"].low > 0 and found["over_magnitude"].low > 0
    signed = measures.signed_evidence(images, exact, SMALL)
    assert signed["raises"].low > 0 and float(signed["raised"]) == 1
    opposite = measures.signed_evidence(images, -exact, SMALL)
    assert opposite["raises"].high < 0 and float(opposite["raised"]) == 0
    assert measures.signed_evidence(images, exact.abs(), SMALL)["raises"] is None


def test_continuity_tells_smooth_maps_from_jumps(linear):
    _, images, _ = linear
    setting = Setting(paths=3)

    def smooth(pixels, classes):
        return pixels[:, 0]

    def jumps(pixels, classes):
        return torch.where(pixels[:, 0] > 0, 1.0, -1.0)

    def constant(pixels, classes):
        return torch.ones_like(pixels[:, 0])

    found = {way: measures.continuity(images, way, setting) for way in (smooth, jumps, constant)}
    assert float(found[smooth]["stays"]) == pytest.approx(0.25, abs=1e-5)
    assert float(found[jumps]["stays"]) > 0.4
    assert float(found[jumps]["largest_step"]) > float(found[smooth]["largest_step"])
    assert float(found[constant]["largest_step"]) == 0 and found[constant]["stays"] is None


def test_a_map_of_the_class_alone_is_not_specific(linear):
    _, images, exact = linear
    same = measures.specificity(images, exact[:1].expand(6, -1, -1), SMALL)
    assert float(same["same_class"]) == pytest.approx(1)
    assert abs(float(measures.specificity(images, drawn(6, 32, 32), SMALL)["same_class"])) < 0.1


def test_maps_that_share_out_the_output_are_related_to_it(linear):
    _, images, _ = linear
    shares = drawn(6, 32, 32).softmax(2) / 32
    found = measures.relation_to_output(images, shares * images.output[:, None, None] / 2)
    assert float(found["sum_and_output"]) == pytest.approx(1, abs=1e-4)
    assert float(found["share"]) == pytest.approx(0.5, abs=1e-5)
    flat = measures.relation_to_output(images, torch.ones(6, 32, 32))
    assert float(flat["sum_and_output"]) == 0


def test_global_and_local_effects_are_told_apart():
    """Where an output saturates, small steps show another network than removal does."""
    weight = drawn(1, 32, 32, seed=3)

    class Saturated(nn.Module):
        def forward(self, images):
            parts = measures.by_region((images * weight)[:, 0]).float().sum(2)
            return torch.stack([100 + parts.clamp(max=0.5).sum(1), parts[:, 0] * 0], 1)

    images = measures.prepare(Saturated(), drawn(6, 1, 32, 32), Setting(donors=5))
    effects = measures.effects_of(images, Setting(donors=5))
    as_maps = [e.view(6, 8, 8).repeat_interleave(4, 1).repeat_interleave(4, 2) for e in
               (effects.removal, effects.step, effects.reaction)]  # fmt: skip
    speaks, steps, reacts = (measures.global_or_local(maps, effects) for maps in as_maps)
    assert speaks["over_step"].low > 0 and speaks["over_reaction"].low > 0
    assert steps["over_step"].high < 0
    assert reacts["over_reaction"].high < 0


def test_it_goes_on_where_it_was_and_draws(tmp_path, monkeypatch, capsys):
    lenet = models.load("lenet5")
    digits = torch.stack([lenet.preprocessing(d) for d in data.sample_digits()[0][:4]])
    chosen = {name: properties.METHODS[name] for name in ("lrp:thesis", "sensitivity", "random")}
    monkeypatch.setattr(properties, "METHODS", chosen)
    monkeypatch.setattr(properties, "read_data", lambda names, model, limit: digits[:limit])
    rows = properties.run(SMALL, tmp_path, {"lenet5": "mnist"})
    assert [row["method"] for row in rows] == list(chosen)
    assert rows[1]["raises"] is None and rows[0]["raises"] is not None
    piece = tmp_path / "pieces" / "lenet5-random.json"
    kept = json.loads(piece.read_text())
    kept["row"]["by_sum"] = 7.0
    piece.write_text(json.dumps(kept))
    assert properties.run(SMALL, tmp_path, {"lenet5": "mnist"})[2]["by_sum"] == 7
    properties.draw(rows, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "lrp:thesis" in capsys.readouterr().out


@pytest.mark.parametrize("label", properties.METHODS)
def test_every_method_has_a_map(label):
    lenet = models.load("lenet5")
    digits = torch.stack([lenet.preprocessing(d) for d in data.sample_digits()[0][:2]])
    maps = properties.heatmaps_by(lenet, properties.METHODS[label])(digits, torch.tensor([0, 1]))
    assert maps.shape == (2, 32, 32) and torch.isfinite(maps).all()
