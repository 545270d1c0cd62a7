import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relprop import data, models
from relprop.errors import InvalidInput, InvalidTarget, UnknownName
from relprop.evaluation import Curve, region_perturbation
from tests.evaluation import naive
from tests.evaluation.exact import exact_model, images_of_eighths

IMAGES = images_of_eighths(4, 2, 7, 8)
MODEL = exact_model(2, 7, 8)
HEATMAPS = torch.randn(4, 7, 8, generator=torch.Generator().manual_seed(3))


def seen_by(images, heatmaps, **options):
    """Everything that the model is given, in order, and the curve."""
    batches = []

    def f(batch):
        batches.append(batch.clone())
        return batch.double().flatten(1).sum(1)

    curve = region_perturbation(f, images, heatmaps, **options)
    return torch.cat(batches), curve


@pytest.mark.parametrize("order", ["morf", "lerf", "random"])
@pytest.mark.parametrize(
    ("region", "steps", "per_step"), [(1, 9, 5), (2, 12, 1), (3, 3, 1), (2, 5, 2), (7, 1, 1)]
)
@pytest.mark.parametrize("fill", ["uniform", 0.5])
@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_equals_a_naive_loop_bit_for_bit(order, region, steps, per_step, fill, batch_size):
    options = {"region": region, "steps": steps, "per_step": per_step, "order": order, "fill": fill}
    curve = region_perturbation(
        MODEL, IMAGES, HEATMAPS, repeats=3, batch_size=batch_size, value_range=(-2, 2), **options
    )
    expected = naive.scores(
        MODEL, IMAGES, HEATMAPS, repeats=3, low=[-2, -2], high=[2, 2], **options
    )
    assert curve.scores.shape == (3, 4, steps + 1)
    assert torch.equal(curve.scores, expected)


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_equals_the_naive_loop_where_all_regions_are_tied(order):
    heatmaps = (HEATMAPS > 0.5).float()
    options = {"region": 1, "steps": 30, "per_step": 1, "order": order, "fill": "uniform"}
    curve = region_perturbation(MODEL, IMAGES, heatmaps, repeats=2, value_range=(-2, 2), **options)
    expected = naive.scores(
        MODEL, IMAGES, heatmaps, repeats=2, low=[-2, -2], high=[2, 2], **options
    )
    assert torch.equal(curve.scores, expected)


def test_equals_the_naive_loop_on_lenet_with_flipped_pixels():
    """The setting of fig. 3.4; with the same batches, the network gives the same bits."""
    network = models.load("lenet5")
    digits = torch.stack([network.preprocessing(digit) for digit in data.sample_digits()[0][:2]])
    signs = torch.where(digits > 0, 1.0, -1.0)
    heatmaps = torch.randn(2, 32, 32)
    curve = region_perturbation(
        network,
        signs,
        heatmaps,
        region=1,
        per_step=0.01,
        steps=10,
        fill="flip",
        repeats=2,
        batch_size=1,
    )
    with torch.no_grad():
        expected = naive.scores(
            network,
            signs,
            heatmaps,
            repeats=2,
            region=1,
            per_step=10,
            steps=10,
            order="morf",
            fill="flip",
            low=[-1],
            high=[1],
        )
    assert torch.equal(curve.scores.double(), expected)


def test_on_lenet_the_batch_changes_rounding_at_most():
    network = models.load("lenet5")
    digits = torch.stack([network.preprocessing(digit) for digit in data.sample_digits()[0][:3]])
    options = {"region": 4, "steps": 5, "repeats": 2}
    one = region_perturbation(network, digits, digits[:, 0], batch_size=1, **options)
    many = region_perturbation(network, digits, digits[:, 0], batch_size=256, **options)
    torch.testing.assert_close(one.scores, many.scores, rtol=1e-5, atol=1e-5)


def test_ranges_are_those_of_the_channels():
    images = IMAGES * torch.tensor([1.0, 10.0])[:, None, None]
    inputs, _ = seen_by(images, HEATMAPS, region=1, steps=None, repeats=20)
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
    assert (inputs.amin((0, 2, 3)) >= low).all() and (inputs.amax((0, 2, 3)) <= high).all()
    assert inputs[:, 1].abs().max() > 15
    assert inputs[:, 0].abs().max() <= 2


def test_noise_belongs_to_the_image_wherever_it_stands():
    order = torch.tensor([2, 0, 3, 1])
    options = {"region": 2, "steps": 6, "repeats": 3, "value_range": (-2, 2), "order": "random"}
    curve = region_perturbation(MODEL, IMAGES, None, **options)
    moved = region_perturbation(MODEL, IMAGES[order], None, **options)
    assert torch.equal(curve.scores[:, order], moved.scores)
    alone = region_perturbation(MODEL, IMAGES[1:2], None, **options)
    assert torch.equal(curve.scores[:, 1:2], alone.scores)


def test_methods_share_their_noise():
    """However regions are ordered: once all are replaced, the image is the same."""
    ends = [
        region_perturbation(MODEL, IMAGES, maps, region=2, steps=None, order=order).scores[..., -1]
        for order, maps in [("morf", HEATMAPS), ("lerf", HEATMAPS), ("morf", HEATMAPS**2)]
    ]
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])
    assert not torch.equal(ends[0][0], ends[0][1]), "repeats draw anew"


def test_a_seed_draws_other_noise():
    first, second = (
        region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3, seed=seed)
        for seed in (0, 1)
    )
    assert not torch.equal(first.scores, second.scores)
    assert torch.equal(first.scores[..., 0], second.scores[..., 0])


def test_pixels_at_the_edges_stay_and_it_is_said():
    inputs, curve = seen_by(IMAGES, HEATMAPS, region=3, steps=None, repeats=1, fill=9.0)
    assert curve.notes[0] == (
        "images of 7 x 8 hold 2 x 2 regions of 3 x 3; 1 rows and 2 columns of pixels at the edges "
        "are left out"
    )
    last = inputs[4:].view(4, 4, 2, 7, 8)[:, -1]
    inside = (slice(None), slice(None), slice(0, 6), slice(1, 7))
    assert (last[inside] == 9).all()
    assert int((last == 9).sum()) == 4 * 2 * 36


def test_a_fill_without_noise_is_computed_once():
    calls, curve = seen_by(IMAGES, HEATMAPS, region=2, steps=4, repeats=10, fill=0.0)
    assert len(calls) == 4 + 4 * 4
    assert curve.scores.shape == (10, 4, 5) and "all 10 repeats are the same" in curve.notes[-1]
    calls, _ = seen_by(IMAGES, None, region=2, steps=4, repeats=10, fill=0.0, order="random")
    assert len(calls) == 4 + 10 * 4 * 4


def test_the_last_step_takes_what_is_left():
    _, curve = seen_by(IMAGES, HEATMAPS, region=2, steps=None, per_step=5, repeats=1, fill=0.0)
    assert curve.scores.shape == (1, 4, 4)  # 12 regions: 5, 5, 2


def test_what_f_does_to_its_input_stays_with_f():
    before = IMAGES.clone()

    def f(batch):
        found = MODEL(batch)
        batch.zero_()
        return found

    curve = region_perturbation(f, IMAGES, HEATMAPS, region=2, steps=3)
    same = region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3)
    assert torch.equal(IMAGES, before) and torch.equal(curve.scores, same.scores)


def test_the_target_is_the_predicted_class_unless_given():
    predicted = MODEL(IMAGES).argmax(1)
    options = {"region": 2, "steps": 3, "repeats": 2}
    curve = region_perturbation(MODEL, IMAGES, HEATMAPS, **options)
    assert torch.equal(curve.target, predicted)
    assert torch.equal(curve.scores[0, :, 0], MODEL(IMAGES).amax(1))
    given = region_perturbation(MODEL, IMAGES, HEATMAPS, target=predicted, **options)
    assert torch.equal(curve.scores, given.scores)
    second = region_perturbation(MODEL, IMAGES, HEATMAPS, target=1, **options)
    assert torch.equal(second.scores[0, :, 0], MODEL(IMAGES)[:, 1])


def test_probability_is_the_softmax():
    curve = region_perturbation(
        MODEL, IMAGES / 8, HEATMAPS, region=2, steps=3, output="probability"
    )
    first = MODEL(IMAGES / 8).softmax(1).amax(1)
    assert torch.equal(curve.scores[0, :, 0], first)
    assert ((curve.scores >= 0) & (curve.scores <= 1)).all()


def test_flips_are_counted_once_changed():
    """One score, positive at first; one region turns it, another turns it back."""
    image = torch.zeros(1, 1, 1, 3)
    weights = torch.tensor([-3.0, 3.0, 1.0])

    def f(batch):
        return 1 + (batch.flatten(1) * weights).sum(1)

    heatmap = torch.tensor([[[3.0, 2.0, 1.0]]])
    curve = region_perturbation(f, image, heatmap, region=1, steps=3, fill=1.0, repeats=1)
    assert curve.scores[0, 0].tolist() == [1, -2, 1, 2]
    assert curve.predicted[0, 0].tolist() == [1, 0, 1, 1]
    assert curve.flipped.tolist() == [0, 1, 1, 1]
    assert curve.aopc == pytest.approx((0 + 3 + 0 - 1) / 4)


def test_arrays_do_as_well_as_tensors():
    curve = region_perturbation(
        lambda batch: MODEL(batch).numpy(), IMAGES.numpy(), HEATMAPS.numpy(), region=2, steps=3
    )
    same = region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3)
    assert isinstance(curve, Curve) and torch.equal(curve.scores, same.scores)


def test_a_network_gets_its_own_number_type():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(112, 3)).double()
    curve = region_perturbation(network, IMAGES, HEATMAPS, region=2, steps=3)
    assert curve.scores.dtype == torch.float64


# Laws


@settings(max_examples=25, deadline=None)
@given(
    side=st.integers(1, 3),
    rows=st.integers(2, 4),
    columns=st.integers(2, 4),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**40),
    data=st.data(),
)
def test_morf_beats_random_on_a_planted_region(side, rows, columns, batch_size, seed, data):
    """Only one region matters to the model, and the heatmap knows it."""
    height, width = rows * side, columns * side
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    inside = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
    images = torch.ones(5, 1, height, width)
    heatmaps = torch.zeros(5, height, width)
    heatmaps[:, inside[0], inside[1]] = 1

    def f(batch):
        return batch[:, 0, inside[0], inside[1]].sum((1, 2))

    options = {"region": side, "steps": None, "repeats": 2, "value_range": (0, 1)}
    options |= {"batch_size": batch_size, "seed": seed}
    morf, lerf, random = (
        region_perturbation(f, images, heatmaps, order=order, **options)
        for order in ("morf", "lerf", "random")
    )
    assert morf.aopc > lerf.aopc
    assert morf.aopc >= random.aopc >= lerf.aopc
    drop = morf.scores[..., 0] - morf.scores[..., 1]
    assert (drop > 0).all(), "the first step takes all that matters"
    assert torch.equal(morf.scores[..., 1], morf.scores[..., -1])
    assert torch.equal(lerf.scores[..., 0], lerf.scores[..., -2])


@settings(max_examples=25, deadline=None)
@given(exponent=st.integers(-20, 20), order=st.sampled_from(["morf", "lerf"]))
def test_the_scale_of_a_heatmap_does_not_matter(exponent, order):
    options = {"region": 2, "steps": 12, "order": order, "repeats": 1}
    curve = region_perturbation(MODEL, IMAGES, HEATMAPS, **options)
    scaled = region_perturbation(MODEL, IMAGES, HEATMAPS * 2.0**exponent, **options)
    turned = region_perturbation(
        MODEL, IMAGES, -HEATMAPS, **{**options, "order": "lerf" if order == "morf" else "morf"}
    )
    assert torch.equal(curve.scores, scaled.scores)
    assert torch.equal(curve.scores, turned.scores)


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=2, max_size=2), seed=st.integers(0, 2**60))
def test_batches_do_not_matter(sizes, seed):
    options = {"region": 2, "steps": 7, "repeats": 3, "seed": seed}
    one, two = (
        region_perturbation(MODEL, IMAGES, HEATMAPS, batch_size=size, **options) for size in sizes
    )
    assert torch.equal(one.scores, two.scores) and torch.equal(one.predicted, two.predicted)


def test_ties_are_not_broken_by_position():
    """Of a heatmap that is the same everywhere, each of four regions goes first equally often."""
    images = torch.randn(2000, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    inputs, _ = seen_by(
        images, torch.ones(2000, 2, 2), region=1, steps=1, fill=9.0, repeats=1, batch_size=2000
    )
    first = (inputs[2000:].flatten(1) == 9).double()
    assert torch.equal(first.sum(1), torch.ones(2000, dtype=torch.float64))
    counts = first.sum(0)
    deviation = ((counts - 500) ** 2 / 500).sum()  # chi-square, 3 degrees of freedom
    assert deviation < 16.3  # 0.1 %


def test_random_orders_are_drawn_for_each_repeat():
    inputs, _ = seen_by(IMAGES[:1], None, order="random", region=1, steps=1, fill=9.0, repeats=200)
    places = (inputs[1:, 0].flatten(1) == 9).double().argmax(1)
    assert len(places.unique()) > 45  # of 56


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 13}, r"hold 12 regions of 2 x 2, which last for 12 steps of 1; steps is 13"),
        ({"steps": 7, "per_step": 2}, "last for 6 steps of 2; steps is 7. Give at most 6, or None"),
        ({"steps": 0}, "steps is 0; it must be an integer, 1 or more"),
        ({"region": 8}, "regions of 8 x 8 pixels do not fit into images of 7 x 8"),
        ({"region": 2.0}, "region is 2.0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"per_step": 0}, "per_step is 0"),
        ({"per_step": 1.5}, "per_step is 1.5; it must be an integer, or a share"),
        ({"fill": True}, "fill is True; it must be a number"),
        ({"fill": "flip"}, r"binarise them first, as in torch.where\(images > 0"),
        ({"value_range": (1, 0)}, "value_range is"),
        ({"value_range": 3}, "value_range is"),
        ({"value_range": ([0, 0, 0], 1)}, "one for each of 2 channels"),
        ({"seed": 2**70}, "seed is"),
    ],
)
def test_numbers_that_do_not_fit(options, message):
    with pytest.raises(InvalidInput, match=message):
        region_perturbation(MODEL, IMAGES, HEATMAPS, **{"region": 2, "steps": 3, **options})


@pytest.mark.parametrize(
    ("images", "heatmaps", "message"),
    [
        (IMAGES[0], HEATMAPS, r"images must be floats \[N, C, H, W\]"),
        (IMAGES[:0], HEATMAPS[:0], "images must be floats"),
        (IMAGES.to(torch.uint8), HEATMAPS, r"got torch.uint8 \[4, 2, 7, 8\]"),
        (IMAGES / 0, HEATMAPS, "images contain NaN"),
        (IMAGES, HEATMAPS[:3], r"heatmaps are \[3, 7, 8\]; expected \[4, 7, 8\]"),
        (IMAGES, IMAGES, "pool the channels first: relprop.viz.pool_channels"),
        (IMAGES, HEATMAPS * float("nan"), "heatmaps contain NaN"),
        (IMAGES, None, "order 'morf' needs heatmaps"),
    ],
)
def test_arrays_that_do_not_fit(images, heatmaps, message):
    with pytest.raises(InvalidInput, match=message):
        region_perturbation(MODEL, images, heatmaps, region=2, steps=3)


@pytest.mark.parametrize("name", ["order", "fill", "output"])
def test_unknown_names_come_with_the_list(name):
    with pytest.raises(UnknownName, match=f"unknown {name} 'x'; there are: "):
        region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3, **{name: "x"})


@pytest.mark.parametrize("target", [3, -1, [0, 1], "cat", 0.5, [0, 1, 2, 3]])
def test_targets_that_do_not_exist(target):
    with pytest.raises(InvalidTarget, match=r"target"):
        region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3, target=target)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (3, "the model must be callable, got int"),
        (lambda x: x, r"the model returned torch.float32 \[4, 2, 7, 8\] for 4 samples"),
        (lambda x: MODEL(x)[:1], r"\[1, 3\] for 4 samples"),
        (lambda x: MODEL(x).long(), "torch.int64"),
        (lambda x: MODEL(x) / (x.flatten(1).amax(1, keepdim=True) < 5), "score is -?inf for image"),
        (
            torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Flatten()),
            r"training mode: '0' \(Dropout\)",
        ),
    ],
)
def test_models_that_do_not_fit(f, message):
    with pytest.raises(InvalidInput, match=message):
        region_perturbation(f, IMAGES, HEATMAPS, region=2, steps=3, fill=7.0)


def test_a_single_score_has_no_probability():
    with pytest.raises(InvalidInput, match="softmax is always 1"):
        region_perturbation(
            lambda x: x.flatten(1).sum(1), IMAGES, HEATMAPS, region=2, steps=3, output="probability"
        )


def test_progress_is_shown_when_asked(capsys):
    region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3, repeats=2, progress=True)
    assert "24/24" in capsys.readouterr().err
    region_perturbation(MODEL, IMAGES, HEATMAPS, region=2, steps=3, repeats=2)
    assert capsys.readouterr().err == ""


def test_numpy_float64_images_are_fine_for_a_float32_network():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(112, 3))
    curve = region_perturbation(
        network, np.asarray(IMAGES, np.float64), HEATMAPS, region=2, steps=3
    )
    assert curve.scores.dtype == torch.float32


def test_what_is_no_map_is_refused_by_its_name():
    images, model = images_of_eighths(2, 1, 4, 4), exact_model(1, 4, 4)
    with pytest.raises(InvalidInput, match=r"heatmaps are a object; .*explanation.heatmap\(\)"):
        region_perturbation(model, images, object(), region=2, steps=2)
