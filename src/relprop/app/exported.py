"""Exported programs (.pt2): looked into before they are loaded, since loading can run code.

torch.export.load unpickles objects, evaluates expressions of shapes, and loads compiled libraries.
What a plain model needs is none of these: tensors, whole numbers, and names of ATen operations.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import nn

from relprop.errors import InvalidInput

_PLAIN = re.compile(
    r"(models/[\w.-]+\.json|data/(weights|constants|sample_inputs)/[\w.-]+|version|byteorder"
    r"|serialized_exported_program\.json|serialized_\w+\.pt|archive_(format|version)|\.data/\w+"
    r"|extra(_files)?/.+|\.format_version|\.storage_alignment)"
)
_TARGET = re.compile(r"torch\.ops\.[\w.]+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_SHAPE = re.compile(
    r"(Symbol\('[a-z]\d+'(, \w+=(True|False))*\)|\b[suz]\d+\b|[\d\s+*/(),-]"
    r"|\b(Integer|Rational|Add|Mul|Pow|Max|Min|Mod|FloorDiv|CeilDiv|CleanDiv)\b)*"
)


def load_exported(path: Path) -> nn.Module:
    """The module in a file written by torch.export.save.

    Raises InvalidInput where there is none, or where it holds more than tensors and operations.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise InvalidInput(f"{path} is not an exported program: write it with torch.export.save")
    with zipfile.ZipFile(path) as archive:
        members = _members(path, archive)
        pickled = {name for name in members if name.endswith(".pt")}
        for name, member in members.items():
            if not _PLAIN.fullmatch(name):
                raise _refusal(path, name, "neither tensors nor a graph")
            if name.endswith(".json") and not name.startswith("extra"):
                pickled |= _checked_json(path, name, archive.read(member))
        for name in sorted(pickled & set(members)):
            _check_tensors(path, name, archive.read(members[name]))
    # check_guards=False: guards are source code that would be run.
    return torch.export.load(path).module(check_guards=False)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Name inside the archive's one folder, where it has one -> member. No name occurs twice."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    roots = {PurePosixPath(name).parts[0] for name in names}
    inner = ["/".join(PurePosixPath(name).parts[len(roots) == 1 :]) for name in names]
    if len({name.casefold() for name in inner}) != len(inner):
        raise _refusal(path, "table of contents", "the same name twice")
    return dict(zip(inner, names, strict=True))


def _check_tensors(path: Path, name: str, content: bytes) -> None:
    """Refuses what does not load as tensors only, where torch itself would go further."""
    try:
        if content:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise _refusal(path, name, "a pickle of more than tensors") from error


def _checked_json(path: Path, name: str, content: bytes) -> set[str]:
    """Refuses calls, expressions and objects; the names of payloads that torch would unpickle."""
    folder = name.rpartition("/")[0]
    pickled = set()
    for entry in _dictionaries(json.loads(content)):
        target, expression = entry.get("target"), entry.get("expr_str")
        if isinstance(target, str) and not _TARGET.fullmatch(target):
            raise _refusal(path, name, f"a call of {target!r}, which is no operation of torch")
        if expression is not None and not _SHAPE.fullmatch(str(expression)):
            raise _refusal(path, name, f"the expression {expression!r}")
        payload = str(entry.get("path_name", ""))
        if "/" in payload or payload.startswith(("custom_obj", "opaque_obj")):
            raise _refusal(path, name, f"the object {payload!r}")
        if entry.get("use_pickle"):
            pickled.add(f"{folder}/{payload}")
    return pickled


def _dictionaries(content: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a JSON document, at any depth."""
    if isinstance(content, dict):
        yield content
        content = list(content.values())
    if isinstance(content, list):
        for entry in content:
            yield from _dictionaries(entry)


def _refusal(path: Path, name: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is not loaded: its {name} holds {what}, and loading it could run code. Export the "
        "plain model again, or name the function that builds it: --model package.module:factory"
    )
