import builtins
import importlib.util

import numpy as np
import pytest

from relprop.data import photograph, photograph_names
from relprop.errors import RelpropError, UnknownName


@pytest.mark.parametrize("name", photograph_names())
def test_photographs_are_real_and_in_colour_order(name):
    pytest.importorskip("skimage")
    pixels = photograph(name)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert min(pixels.shape[:2]) >= 224 and pixels.std() > 10


def test_chelsea_is_read_as_scikit_image_reads_it():
    data = pytest.importorskip("skimage.data")
    np.testing.assert_array_equal(photograph("chelsea"), data.chelsea())


def test_an_unknown_photograph_is_refused():
    with pytest.raises(UnknownName, match="unknown photograph 'dog'; there are: astronaut, "):
        photograph("dog")


def test_without_scikit_image_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RelpropError, match=r"pip install 'relprop\[demo\]'"):
        photograph("chelsea")


def test_importing_the_data_room_is_light(monkeypatch):
    real = builtins.__import__

    def guarded(name, *rest, **more):
        assert name.split(".")[0] not in {"PIL", "skimage", "matplotlib", "pandas"}, name
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    importlib.reload(importlib.import_module("relprop.data.photographs"))
