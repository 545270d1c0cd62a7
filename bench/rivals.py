"""Other tools beside ours: made importable from a folder of their own, no dependency of ours."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import torch

FOLDER = Path(".cache/rivals")  # where `make bench` installs rivals.txt
TOOLS = ("zennit", "captum")

_library: list[torch.library.Library] = []


def load(folder: Path) -> dict[str, str]:
    """Make the tools in `folder` importable; their versions by name, none where none are there.

    zennit imports torchvision, whose operators do not load beside a CPU build of torch; their names
    are declared so that the import passes. Nothing that is measured calls them.
    """
    if not folder.is_dir():
        return {}
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    if not _library and not torch.cuda.is_available():
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a) -> Tensor")
        _library.append(library)
    return {name: version(name) for name in TOOLS if has(name)}


def has(name: str) -> bool:
    """Whether a tool can be imported."""
    return importlib.util.find_spec(name) is not None
