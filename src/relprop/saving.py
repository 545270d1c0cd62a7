"""Explanations on disk: `.npz`, or `.safetensors` with a JSON file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from .errors import InvalidInput
from .propagation.ledger import Ledger, Row
from .result import Explanation

FORMAT = "relprop-explanation-1"
UNREADABLE = (KeyError, ValueError, TypeError, EOFError, OSError, BadZipFile, SafetensorError)
FIGURES = ("received", "passed", "bias", "stabiliser", "lost")


def save(explanation: Explanation, path: Path) -> Path:
    """Write an explanation. Raises InvalidInput for another suffix, OSError where it cannot be
    written.
    """
    _check_suffix(path)
    tensors: dict[str, Tensor] = {}
    described = {
        "format": FORMAT,
        "relevance": _take_out(explanation.relevance, "relevance", tensors),
        "output": _take_out(explanation.output, "output", tensors),
        "target": _take_out(explanation.target, "target", tensors),
        "layers": _take_out(explanation.layers, "layers", tensors),
        "ledger": None
        if explanation.ledger is None
        else _describe_ledger(explanation.ledger, tensors),
        "method": explanation.method,
        "preset": explanation.preset,
        "notes": list(explanation.notes),
        "grouped": explanation.grouped,
        "pooling": explanation.pooling,
        "names": explanation.names,
    }
    text = json.dumps(described)
    if path.suffix == ".npz":
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in _widened(tensors).items()}
        np.savez_compressed(path, __description__=np.array(text), **arrays)  # type: ignore[arg-type]
    else:
        from safetensors.torch import save_file

        save_file(
            {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path
        )
        path.with_suffix(".json").write_text(text)
    return path


def load(path: Path) -> Explanation:
    """Read an explanation back. Raises InvalidInput for a file that `save` did not write."""
    _check_suffix(path)
    if not path.exists():
        raise InvalidInput(f"no file {path}")
    described, tensors = _read(path)
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise InvalidInput(f"{path} is not an explanation that relprop saved")
    try:
        return _rebuild(described, tensors)
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInput(f"{path} is damaged: {error!r}") from error


def _rebuild(described: dict[str, Any], tensors: dict[str, Tensor]) -> Explanation:
    return Explanation(
        relevance=_put_in(described["relevance"], tensors),
        output=_put_in(described["output"], tensors),
        target=_put_in(described["target"], tensors),
        method=described["method"],
        preset=described["preset"],
        layers=_put_in(described["layers"], tensors),
        ledger=None
        if described["ledger"] is None
        else _rebuild_ledger(described["ledger"], tensors),
        notes=tuple(described["notes"]),
        grouped=described["grouped"],
        pooling=described.get("pooling", "sum"),
        names=described.get("names"),
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                described = json.loads(str(archive["__description__"]))
                tensors = {
                    n: torch.from_numpy(archive[n]) for n in archive.files if n != "__description__"
                }
        else:
            from safetensors.torch import load_file

            described = json.loads(path.with_suffix(".json").read_text())
            tensors = load_file(path)
    except UNREADABLE as error:
        raise InvalidInput(f"{path} is not an explanation that relprop saved: {error}") from error
    return described, tensors


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".npz", ".safetensors"):
        raise InvalidInput(f"explanations are saved as .npz or .safetensors, got {path.name!r}")


def _take_out(entry: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The structure with tensors replaced by their names."""
    if isinstance(entry, Tensor):
        unique = f"{len(tensors)}.{name}"
        tensors[unique] = entry
        return {"tensor": unique}
    if isinstance(entry, np.ndarray):
        return {"array": _take_out(torch.from_numpy(entry), name, tensors)}
    if hasattr(entry, "indptr"):  # sparse, of scipy
        parts = [entry.data, entry.indices, entry.indptr]
        return {"sparse": [_take_out(parts, name, tensors), list(entry.shape)]}
    if isinstance(entry, dict):
        items = [[key, _take_out(item, f"{name}.{key}", tensors)] for key, item in entry.items()]
        return {"dict": items}
    if isinstance(entry, (tuple, list)):
        kind = "tuple" if isinstance(entry, tuple) else "list"
        return {kind: [_take_out(item, f"{name}.{i}", tensors) for i, item in enumerate(entry)]}
    return {"plain": entry}


def _put_in(entry: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = entry.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return _put_in(content, tensors).numpy()
    if kind == "sparse":
        from scipy.sparse import csr_array

        parts, shape = content
        return csr_array(tuple(_put_in(parts, tensors)), shape=tuple(shape))
    if kind == "dict":
        return {
            tuple(key) if isinstance(key, list) else key: _put_in(item, tensors)
            for key, item in content
        }
    if kind in ("tuple", "list"):
        items = [_put_in(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    return content


def _describe_ledger(ledger: Ledger, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for name in ("start", "arrived", "magnitude"):
        tensors[f"ledger.{name}"] = getattr(ledger, name)
    for name in FIGURES:
        if ledger.rows:
            tensors[f"ledger.rows.{name}"] = torch.stack(
                [getattr(row, name) for row in ledger.rows]
            )
    return {"rows": [[row.module, row.operation, row.rule] for row in ledger.rows]}


def _rebuild_ledger(described: dict[str, Any], tensors: dict[str, Tensor]) -> Ledger:
    rows = tuple(
        Row(*names, *(tensors[f"ledger.rows.{figure}"][i] for figure in FIGURES))
        for i, names in enumerate(described["rows"])
    )
    return Ledger(rows, *(tensors[f"ledger.{name}"] for name in ("start", "arrived", "magnitude")))


def _widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """NumPy has no bfloat16: it is stored as float32."""
    return {name: t.float() if t.dtype == torch.bfloat16 else t for name, t in tensors.items()}
