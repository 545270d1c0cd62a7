import pytest
import torch

from relprop.errors import InvalidInput, InvalidTarget
from relprop.evaluation import perturbation_curve

ORDER = torch.tensor([[2, 0, 1, 3], [3, 1, -1, -1]])


def scorer(calls=None):
    """Scores of two classes: how many components are left, and minus that, with noise."""

    def score_after(steps):
        if calls is not None:
            calls.append(steps)
        rows = []
        for sample in range(len(steps.step)):
            run = int(steps.run[sample])
            left = 4 - len(steps.replaced(sample))
            noise = int(steps.seed[run]) % 1000 / 1000 * (left < 4)
            rows.append([left + noise, -left - noise])
        return torch.tensor(rows, dtype=torch.float64)

    return score_after


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_the_callback_hears_what_is_replaced(batch_size):
    calls = []
    curve = perturbation_curve(
        scorer(calls), ORDER, per_step=2, repeats=3, batch_size=batch_size, seed=4
    )
    asked = [
        (int(steps.image[run]), int(steps.repeat[run]), int(step), steps.replaced(i).tolist())
        for steps in calls
        for i, (run, step) in enumerate(zip(steps.run, steps.step, strict=True))
    ]
    assert asked[:2] == [(0, 0, 0, []), (1, 0, 0, [])]
    expected = [
        (image, repeat, step, [c for c in ORDER[image, : 2 * step].tolist() if c >= 0])
        for image in range(2)
        for repeat in range(3)
        for step in (1, 2)
    ]
    assert asked[2:] == expected
    assert {steps.last for steps in calls} == {2} and {steps.per_step for steps in calls} == {2}
    assert [steps.unperturbed for steps in calls][0] is True
    assert curve.scores.shape == (3, 2, 3)
    assert curve.scores.int().tolist() == [[[4, 2, 0], [4, 2, 2]]] * 3


def test_batches_do_not_matter():
    curves = [
        perturbation_curve(scorer(), ORDER, repeats=3, batch_size=size) for size in (1, 5, 64)
    ]
    assert torch.equal(curves[0].scores, curves[1].scores)
    assert torch.equal(curves[0].scores, curves[2].scores)
    assert len(curves[0].scores[..., 1].unique()) == 6, "each image and repeat has its own seed"


def test_orders_of_each_repeat():
    orders = torch.tensor([[[0, 1]], [[1, 0]]])
    calls = []
    perturbation_curve(scorer(calls), orders, repeats=2, noisy=False)
    assert calls[1].order.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(InvalidInput, match=r"\[2, 1, 2\]; it must be int64 \[N, M\], or \[3, N"):
        perturbation_curve(scorer(), orders, repeats=3)


def test_without_noise_a_repeat_is_computed_once():
    calls = []
    curve = perturbation_curve(scorer(calls), ORDER, repeats=5, noisy=False)
    assert sum(len(steps.step) for steps in calls) == 2 + 2 * 4
    assert curve.scores.shape == (5, 2, 5)
    assert torch.equal(curve.scores[0], curve.scores[4])


def test_settings_and_targets_are_kept():
    curve = perturbation_curve(
        scorer(), ORDER, per_step=3, target=[1, 0], seed=9, settings={"what": "x"}, notes=("n",)
    )
    assert curve.settings == {"what": "x", "output": "logit", "seed": 9, "steps": 2, "per_step": 3}
    assert curve.target.tolist() == [1, 0] and curve.scores[0, :, 0].tolist() == [-4, 4]
    assert curve.notes == ("n",)
    assert curve.keys.tolist() == [0, 1]


@pytest.mark.parametrize(
    "order", [ORDER.float(), ORDER[0], ORDER[:, :0], ORDER[None], ORDER.to(torch.int32)]
)
def test_orders_that_do_not_fit(order):
    with pytest.raises(InvalidInput, match="order is torch"):
        perturbation_curve(scorer(), order, repeats=2)


def test_targets_that_do_not_fit():
    with pytest.raises(InvalidTarget, match=r"classes lie in 0..1; target has 2..2"):
        perturbation_curve(scorer(), ORDER, target=2)
