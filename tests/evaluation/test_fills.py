import pytest
import torch

from relprop.errors import InvalidInput
from relprop.evaluation import imputation, region_perturbation
from relprop.evaluation.fills import blurred
from relprop.evaluation.imputation import imputed
from tests.evaluation.exact import images_of_eighths

IMAGES = images_of_eighths(3, 2, 8, 8)
HEATMAPS = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(5))


def paths(fill, images=IMAGES, *, repeats=1, batch_size=256, **options):
    """What the model is given after each step, `[N, repeats, steps, C, H, W]`."""
    batches = []

    def f(batch):
        batches.append(batch.clone())
        return batch.flatten(1).sum(1)

    options = {"region": 2, "steps": 6, "order": "morf", **options}
    curve = region_perturbation(
        f,
        images,
        HEATMAPS[: len(images)],
        fill=fill,
        repeats=repeats,
        batch_size=batch_size,
        **options,
    )
    steps = curve.scores.shape[2] - 1
    found = torch.cat(batches)[len(images) :]
    return found.view(len(images), -1, steps, *images.shape[1:])


def gone(found, images=IMAGES):
    """Where a number fill of 99 was put in: the masks, `[N, steps, H, W]`."""
    return found[:, 0, :, 0] == 99


MASKS = gone(paths(99.0))


def test_masks_grow_by_a_region_a_step():
    assert MASKS.flatten(2).sum(2).tolist() == [[4, 8, 12, 16, 20, 24]] * 3
    assert (MASKS[:, 1:] >= MASKS[:, :-1]).all()


@pytest.mark.parametrize("fill", ["uniform", "mean", "blur", "noisy-linear", 0.25])
def test_only_replaced_pixels_change(fill):
    found = paths(fill, repeats=2)
    kept = ~MASKS[:, None, :, None].expand_as(found)
    original = IMAGES[:, None, None].expand_as(found)
    assert torch.equal(found[kept], original[kept])
    changed = (found != original).flatten(3).any(3)
    assert changed.all()


@pytest.mark.parametrize("fill", ["uniform", "mean", "blur"])
def test_a_pixel_keeps_its_value(fill):
    found = paths(fill)
    for step in range(1, 6):
        before = MASKS[:, step - 1, None].expand_as(found[:, 0, step])
        assert torch.equal(found[:, 0, step][before], found[:, 0, step - 1][before])


def test_mean_is_that_of_the_image_and_channel():
    found = paths("mean")[1, 0, -1, 1][MASKS[1, -1]]
    torch.testing.assert_close(found, IMAGES[1, 1].mean().expand_as(found))


def test_blur_is_a_gaussian_of_one_region():
    impulse = torch.zeros(1, 1, 41, 41)
    impulse[..., 20, 20] = 1
    found = blurred(impulse, 3.0)[0, 0]
    places = torch.arange(41) - 20.0
    expected = torch.exp(-(places**2) / 18) * (places.abs() <= 9)
    expected = expected / expected.sum()
    torch.testing.assert_close(found, expected[:, None] * expected[None])
    constant = blurred(torch.full((2, 3, 5, 4), 0.7), 2.0)
    torch.testing.assert_close(constant, torch.full((2, 3, 5, 4), 0.7))
    values = paths("blur")[:, 0, -1][MASKS[:, -1, None].expand(3, 2, 8, 8)]
    expected = blurred(IMAGES, 2.0)[MASKS[:, -1, None].expand(3, 2, 8, 8)]
    torch.testing.assert_close(values, expected)


def test_flip_turns_the_sign():
    signs = torch.where(IMAGES > 0, 1.0, -1.0)
    found = paths("flip", signs)[:, 0]
    masks = MASKS[:, :, None].expand_as(found)
    expected = signs[:, None].expand_as(found)
    assert torch.equal(found[masks], -expected[masks])
    assert torch.equal(found[~masks], expected[~masks])


# Noisy linear imputation


def dense_solution(channel, mask):
    """The same equations, written down pixel by pixel and solved at once."""
    height, width = channel.shape
    weights = {(i, j): (1 / 6 if i * j == 0 else 1 / 12) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    del weights[0, 0]
    missing = mask.nonzero().tolist()
    number = {tuple(place): k for k, place in enumerate(missing)}
    matrix = torch.zeros(len(missing), len(missing), dtype=torch.float64)
    given = torch.zeros(len(missing), dtype=torch.float64)
    for (row, column), k in number.items():
        for (down, right), weight in weights.items():
            place = row + down, column + right
            if not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            matrix[k, k] += weight
            if place in number:
                matrix[k, number[place]] -= weight
            else:
                given[k] += weight * float(channel[place])
    found = channel.double().clone()
    found[mask] = torch.linalg.solve(matrix, given)
    return found


def growing_masks(shares, height=12, width=11):
    """Each contains the one before."""
    drawn = torch.rand(height, width)
    return torch.stack([drawn < share for share in shares])


@pytest.fixture(params=["by factors", "by iteration"])
def way(request, monkeypatch):
    if request.param == "by iteration":
        monkeypatch.setattr(imputation, "DIRECTLY", 0)
        monkeypatch.setattr(imputation, "_ELEMENTS", 700)  # of several pieces
    return request.param


def test_imputation_solves_its_equations(way):
    image = torch.randn(2, 12, 11)
    masks = growing_masks([0.05, 0.3, 0.6, 0.9, 0.98])
    found = imputed(image, masks)
    precision = 1e-5 if way == "by factors" else 1e-3
    for step in range(5):
        for channel in range(2):
            expected = dense_solution(image[channel], masks[step])
            torch.testing.assert_close(
                found[step, channel].double(), expected, rtol=0, atol=precision
            )


def test_a_slope_goes_on_through_a_hole(way):
    """A plane is its own mean over neighbours: it comes back whole."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image = (rows + 2 * columns)[None] / 32
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 4:27, 5:28] = True
    torch.testing.assert_close(imputed(image, mask)[0], image, rtol=0, atol=1e-3)


def test_where_all_is_missing_the_mean_is_left(way):
    image = torch.randn(2, 4, 4)
    masks = growing_masks([0.5, 1.0, 1.0], 4, 4)
    found = imputed(image, masks)
    for step in (1, 2):
        mean = image.mean((1, 2), keepdim=True).expand_as(image)
        torch.testing.assert_close(found[step], mean)
    expected = dense_solution(image[1], masks[0])
    torch.testing.assert_close(found[0, 1].double(), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(imputed(image, masks[1:]), found[1:])


def test_imputation_has_a_little_noise():
    found = paths("noisy-linear", repeats=50)
    quiet = torch.stack([imputed(image, masks) for image, masks in zip(IMAGES, MASKS, strict=True)])
    inside = MASKS[:, None, :, None].expand_as(found)
    noise = (found - quiet[:, None])[inside]
    width = float(IMAGES.amax() - IMAGES.amin())
    assert abs(float(noise.std()) / width - 0.01) < 0.0005
    assert abs(float(noise.mean())) / width < 0.0005
    assert not torch.equal(found[:, 0], found[:, 1])


# A fill of one's own


def test_an_own_fill_is_given_all_steps_of_an_image():
    seen = []

    def own(images, masks, generator):
        seen.append((images, masks))
        return torch.rand(images.shape[1:], generator=generator).expand_as(images) + 10

    found = paths(own, repeats=2)
    assert len(seen) == 3 * 2
    images, masks = seen[2]
    assert images.shape == (6, 2, 8, 8) and torch.equal(images[3], IMAGES[1])
    assert torch.equal(masks, MASKS[1])
    inside = MASKS[:, None, :, None].expand_as(found)
    assert (found[inside] >= 10).all() and (found[~inside] < 10).all()
    assert not torch.equal(found[:, 0], found[:, 1]), "each repeat has a generator of its own"


@pytest.mark.parametrize("fill", ["noisy-linear", "own"])
@pytest.mark.parametrize("batch_size", [1, 4, 5, 7])
def test_batches_do_not_matter(fill, batch_size):
    def own(images, masks, generator):
        return torch.rand(images.shape, generator=generator)

    chosen = own if fill == "own" else fill
    whole = paths(chosen, repeats=2)
    parts = paths(chosen, repeats=2, batch_size=batch_size)
    assert torch.equal(whole, parts)


def test_an_own_fill_must_return_images():
    with pytest.raises(InvalidInput, match=r"returned \(8, 8\) for images \(6, 2, 8, 8\)"):
        paths(lambda images, masks, generator: images[0, 0])
    with pytest.raises(InvalidInput, match="returned NoneType"):
        paths(lambda images, masks, generator: None)
