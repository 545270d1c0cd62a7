import torch

from relprop.evaluation import noise
from tests.evaluation import naive
from tests.evaluation.exact import images_of_eighths

SEEDS = torch.tensor([0, 1, -1, 2**62, -(2**63), 1234567890123456789])


def unsigned(words):
    return [int(word) % 2**64 for word in words.flatten()]


def test_words_are_those_of_splitmix64():
    """The first numbers that the published generator gives for seed 1234567."""
    state, expected = 1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = state + torch.arange(1, 4) * noise.GOLDEN
    assert unsigned(noise.mixed(states)) == expected


def test_words_equal_those_of_plain_integers():
    for stream in (noise.VALUES, noise.ANGLES, noise.ORDER, noise.TIES):
        found = noise.words(SEEDS, 50, stream)
        for row, seed in zip(found, SEEDS.tolist(), strict=True):
            assert unsigned(row) == naive.words(seed % 2**64, 50, stream)


def test_keys_and_seeds_equal_those_of_plain_integers():
    images = images_of_eighths(3, 2, 4, 5)
    keys = noise.image_keys(images)
    assert unsigned(keys) == [naive.image_key(image.numpy()) for image in images]
    for seed in (0, 7, -3, 2**62):
        found = noise.run_seeds(keys, 3, seed)
        expected = [[naive.run_seed(k, r, seed) for k in unsigned(keys)] for r in range(3)]
        assert unsigned(found) == sum(expected, [])


def test_a_key_is_of_the_values():
    images = torch.randn(4, 3, 8, 8)
    keys = noise.image_keys(images)
    assert torch.equal(noise.image_keys(images.double()), keys)
    assert torch.equal(noise.image_keys(images[[2, 0]]), keys[[2, 0]])
    zeros = torch.zeros(1, 3, 8, 8)
    assert torch.equal(noise.image_keys(zeros), noise.image_keys(-zeros))
    for row in range(8):  # no pixel is without influence
        other = images.clone()
        other[0, 1, row, 3] += 1e-6
        assert noise.image_keys(other)[0] != keys[0]
    assert noise.image_keys(images.flip(3))[0] != keys[0]


def test_keys_do_not_depend_on_how_many_are_read_at_a_time(monkeypatch):
    images = torch.randn(10, 3, 8, 8)
    keys = noise.image_keys(images)
    monkeypatch.setattr(noise, "_ELEMENTS", 1)
    assert torch.equal(noise.image_keys(images), keys)


def test_uniform_is_uniform():
    found = noise.uniform(torch.arange(64), 4096)
    assert found.dtype == torch.float32 and found.min() >= 0 and found.max() < 1
    counts = torch.histc(found, 256, 0, 1)
    expected = found.numel() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 347  # 255 degrees of freedom, 0.01 %
    flat = found.double() - 0.5
    for one, two in [
        (flat[:, 1:], flat[:, :-1]),  # neighbours in an image
        (flat[1:], flat[:-1]),  # the same place under the next seed
        (flat, noise.uniform(torch.arange(64), 4096, noise.ANGLES).double() - 0.5),
    ]:
        assert abs(float((one * two).mean()) * 12) < 4 / one.numel() ** 0.5


def test_normal_is_normal():
    found = noise.normal(torch.arange(64), 4096).double()
    size = found.numel() ** 0.5
    assert abs(float(found.mean())) < 4 / size
    assert abs(float(found.var()) - 1) < 6 / size
    assert abs(float((found**3).mean())) < 16 / size
    assert abs(float((found**4).mean()) - 3) < 40 / size
    assert torch.isfinite(found).all()
