"""scikit-learn models on the command line: where they come from, tables and pictures explained."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import relprop
from relprop.app.explaining import Look, draw
from relprop.app.images import read_image
from relprop.errors import InvalidInput, InvalidTarget

_SAFE = "skops.io.dump(model, 'model.skops')"
_PICKLES = (".pkl", ".pickle", ".joblib")
_OURS = "relprop.classical."


def load_estimator(source: str) -> Any:
    """A fitted scikit-learn model from a .skops file, or from `package.module:name`.

    The name may be of a model, or of a function that returns one. Raises InvalidInput for pickles,
    for types that skops does not trust, and where there is no such file or name; ImportError
    without skops.
    """
    path = Path(source)
    if path.suffix.lower() in _PICKLES:
        raise InvalidInput(
            f"{source} is not loaded: a pickle can run any code while it is loaded. Where you "
            f"trust it, load it in Python and save {_SAFE}, or name the function that returns the "
            "model, --model package.module:function"
        )
    if path.suffix.lower() == ".skops":
        return _from_skops(path)
    if ":" in source:
        return _from_module(source)
    raise InvalidInput(
        f"there is no model {source!r} for a table: give a file made by {_SAFE}, or "
        "package.module:name"
    )


def explain_table(model: Any, file: Path, *, target: str | None, out: Path) -> Iterator[str]:
    """Explains the rows of a CSV file, writes relevance as CSV and .npz into `out`, and says so.

    Columns that the model was fitted with are taken by name; others are left out. Raises
    InvalidInput where there is no such file, or columns are missing.
    """
    table = _table(model, file)
    explanation = relprop.explain(model, table, _target(model, target))
    yield f"{file}: {len(table)} rows, {table.shape[1]} columns"
    yield f"  {explanation.conservation}"
    for note in explanation.notes:
        yield f"  note: {note}"
    out.mkdir(parents=True, exist_ok=True)
    yield f"  wrote {_write(explanation, out / f'{file.stem}-relevance.csv')}"
    yield f"  wrote {explanation.save(out / f'{file.stem}.npz')}"


def explain_picture(
    model: Any, file: Path, *, target: str | None, look: Look, out: Path, stem: str
) -> Iterator[str]:
    """Explains an image under a model of images, writes PNG and `stem`.npz, and says so.

    Raises InvalidInput for target "all", which has no single picture.
    """
    if target == "all":
        raise InvalidInput("--target all: name a class, or two as a pair, for pictures")
    image = read_image(file)
    explanation = relprop.explain(model, [image], _target(model, target))
    yield str(file)
    yield f"  {explanation.conservation}"
    for note in explanation.notes:
        yield f"  note: {note}"
    for path in draw(explanation.heatmap()[0], image, out / f"{stem}.png", look):
        yield f"  wrote {path}"
    yield f"  wrote {explanation.save(out / f'{stem}.npz')}"


def _write(explanation: relprop.Explanation, path: Path) -> Path:
    """One row a sample (and target): what is explained, what absorbed it, and each column."""
    import pandas

    relevance, totals = explanation.relevance, explanation.totals()
    if explanation.grouped:
        targets = [str(k) for k in range(relevance.shape[1])] * len(relevance)
        relevance = relevance.reshape(-1, relevance.shape[2])
    figures = {name: totals[name].ravel() for name in ("received", "bias", "stabiliser", "lost")}
    frame = pandas.DataFrame(relevance, columns=explanation.names)
    for name, figure in reversed(figures.items()):
        frame.insert(0, f"({'explained' if name == 'received' else name})", figure)
    if explanation.grouped:
        frame.insert(0, "(target)", targets)
    frame.to_csv(path, index=False)
    return path


def _table(model: Any, file: Path) -> Any:
    import pandas

    if not file.is_file():
        raise InvalidInput(f"--data: there is no file {file}")
    try:
        table = pandas.read_csv(file)
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--data: {file} is not a table: {error}") from error
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return table
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InvalidInput(f"--data: {file} has no column {', '.join(map(repr, missing))}")
    return table[list(names)]


def _target(model: Any, text: str | None) -> Any:
    """A class by its label, two as a pair, or "all"."""
    if text is None or text == "all":
        return text
    labels = {str(label): label for label in getattr(model, "classes_", ())}
    parts = [text] if text in labels else [part.strip() for part in text.split(",")]
    unknown = [part for part in parts if part not in labels]
    if unknown or len(parts) > 2:
        raise InvalidTarget(
            f"--target {text}: give a class, or two as a pair, of {', '.join(labels) or 'none'}"
        )
    chosen = [labels[part] for part in parts]
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


def _from_skops(path: Path) -> Any:
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    try:
        io = importlib.import_module("skops.io")
    except ImportError:
        raise ImportError(f"{path} needs skops: pip install skops") from None
    strange = io.get_untrusted_types(file=path)
    ours = [name for name in strange if name.startswith(_OURS)]
    if len(ours) < len(strange):
        others = ", ".join(sorted(set(strange) - set(ours)))
        raise InvalidInput(
            f"{path} holds types that could run code while they are loaded: {others}. Where you "
            "trust it, name a function that loads it: --model package.module:function"
        )
    return io.load(path, trusted=ours)


def _from_module(source: str) -> Any:
    module_name, _, attribute = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a module in the current folder
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there, and misses something itself
        raise InvalidInput(f"--model {source}: there is no module {module_name}") from error
    found = getattr(module, attribute, None)
    model = found if hasattr(found, "get_params") or not callable(found) else found()
    if not hasattr(model, "get_params"):
        raise InvalidInput(f"--model {source}: it gave no scikit-learn model, but {model!r}")
    return model
