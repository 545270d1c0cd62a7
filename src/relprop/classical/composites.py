"""Pipelines, unions and column transformers backwards: one after another, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import compose, pipeline

from ..errors import UnsupportedOperation
from .affine import dense
from .dispatch import decided
from .registry import estimator
from .shared import Floats
from .steps import moved, walk_recorded, walk_step
from .vectorizers import is_vectorizer, walk_words
from .walking import Decided, Options, Walk, line, sums, together, whole

_NOTHING = (None, "passthrough")
Back = Callable[[Any], Walk]  # relevance of a transformer's outputs -> the walk to its inputs


@estimator(pipeline.Pipeline)
def explained_pipeline(model: Any, inputs: Any, options: Options) -> Decided:
    """The last step's decision, and the way back through it and through the steps before."""
    before, (name, final) = model.steps[:-1], model.steps[-1]
    values, back = _run_steps("", before, inputs, options)
    inner = options
    if options.candidates is not None:
        inner = replace(inner, candidates=_forward(before, options.candidates))
    if options.root is not None:
        inner = replace(inner, root=_root(before, options.root))
    found = decided(final, values, inner)

    def whole_way(weights: Floats) -> Walk:
        walk = found.back(weights).inside(name)
        return _continued(walk, back(walk.relevance))

    return replace(found, back=whole_way)


def _forward(steps: Any, values: Any) -> Any:
    for _, transformer in steps:
        values = values if transformer in _NOTHING else transformer.transform(values)
    return values


def _root(steps: Any, root: Any) -> Any:
    """Root points as the last step sees them; one for all samples stays one."""
    if np.ndim(root) == 1:
        return dense(_forward(steps, np.asarray(root)[None]))[0]
    return _forward(steps, root)


def _continued(walk: Walk, part: Walk) -> Walk:
    return Walk(part.relevance, walk.lines + part.lines, walk.notes + part.notes, part.names)


def run(module: str, transformer: Any, inputs: Any, options: Options) -> tuple[Any, Back]:
    """A transformer's outputs and the way back from them, whether it is made of others or not.

    Raises UnsupportedOperation on the way back through an unknown transformer.
    """
    if type(transformer) is pipeline.Pipeline:
        return _run_steps(module, transformer.steps, inputs, options)
    if type(transformer) is pipeline.FeatureUnion:
        return _run_union(module, transformer, inputs, options)
    if type(transformer) is compose.ColumnTransformer:
        return _run_columns(module, transformer, inputs, options)
    if hasattr(transformer, "record") and hasattr(transformer, "redistribute"):
        recorded = transformer.record(inputs)  # which spares it its work on the way back
        return recorded.output, partial(walk_recorded, module, transformer, recorded)
    outputs = transformer.transform(inputs)
    if is_vectorizer(transformer):
        return outputs, partial(walk_words, module, transformer, inputs)

    def back(relevance: Any) -> Walk:
        return walk_step(module, transformer, inputs, outputs, relevance, options)

    return outputs, back


def _run_steps(module: str, steps: Any, inputs: Any, options: Options) -> tuple[Any, Back]:
    """Steps one after another."""
    backs = []
    for name, transformer in steps:
        if transformer not in _NOTHING:
            inside = f"{module}.{name}" if module else name
            inputs, way = run(inside, transformer, inputs, options)
            backs.append(way)

    def back(relevance: Any) -> Walk:
        walk = Walk(relevance, ())
        for way in reversed(backs):
            walk = _continued(walk, way(walk.relevance))
        return walk

    return inputs, back


def _run_union(module: str, union: Any, inputs: Any, options: Options) -> tuple[Any, Back]:
    """Steps side by side: each part of the outputs goes back through what made it."""
    parts, backs = [], []
    for name, transformer in union.transformer_list:
        if transformer == "drop":
            continue
        inside = f"{module}.{name}"
        values, back = (
            (inputs, partial(_passed, inside))
            if transformer in _NOTHING
            else run(inside, transformer, inputs, options)
        )
        parts.append(values * (union.transformer_weights or {}).get(name, 1.0))
        backs.append(back)
    bounds = np.cumsum([0, *(part.shape[1] for part in parts)])

    def back_through_all(relevance: Any) -> Walk:
        walks = [
            back(relevance[:, begin:end])
            for back, begin, end in zip(backs, bounds[:-1], bounds[1:], strict=True)
        ]
        if any(walk.names != walks[0].names for walk in walks):
            raise UnsupportedOperation(
                f"{module}: its vectorizers cut texts into different tokens, so their relevance "
                "cannot be added; explain models on one of them at a time"
            )
        return together(walks)

    if any(hasattr(part, "columns") for part in parts):  # whose names the host alone knows
        return union.transform(inputs), back_through_all
    return _side_by_side(parts), back_through_all


def _side_by_side(parts: Sequence[Any]) -> Any:
    """The columns of all parts, sparse where one of them is."""
    if any(sparse.issparse(part) for part in parts):
        return sparse.csr_array(sparse.hstack(parts))
    return np.hstack(parts)


def _run_columns(module: str, columned: Any, inputs: Any, options: Options) -> tuple[Any, Back]:
    """Each part of the outputs goes back to the columns that it was made of.

    Of a column of texts the whole relevance is given, in its one place.
    """
    ways = []
    for name, transformer, columns in columned.transformers_:
        place = columned.output_indices_[name]
        if place.start == place.stop:
            continue
        positions = _positions(columns, inputs)
        back: Back = partial(_passed, f"{module}.{name}")
        if transformer not in _NOTHING:
            chosen = _chosen(inputs, columns, positions)
            _, back = run(f"{module}.{name}", transformer, chosen, options)
        ways.append((place, positions, back))
    width = inputs.shape[1]

    def back_through_all(relevance: Any) -> Walk:
        walks = []
        for place, positions, back in ways:
            walk = back(relevance[:, place])
            found = sums(walk.relevance)[:, None] if walk.names else walk.relevance
            walks.append(replace(walk, relevance=moved(found, positions, width), names=None))
        return together(walks)

    return columned.transform(inputs), back_through_all


def _passed(module: str, relevance: Any) -> Walk:
    shared = whole(relevance)
    return Walk(relevance, (line(module, "passthrough", "move", sums(relevance), shared),))


def _positions(columns: Any, inputs: Any) -> NDArray[np.intp]:
    """The indices of columns given by name, index, slice or mask."""
    names = [str(name) for name in getattr(inputs, "columns", ())]
    if isinstance(columns, slice):
        bounds = [columns.start, columns.stop]
        if any(isinstance(bound, str) for bound in bounds):  # by name, the last one included
            begin = 0 if columns.start is None else names.index(columns.start)
            end = len(names) if columns.stop is None else names.index(columns.stop) + 1
            columns = slice(begin, end, columns.step)
        return np.arange(inputs.shape[1])[columns]
    listed = [columns] if np.ndim(columns) == 0 else list(columns)
    if listed and all(isinstance(entry, (bool, np.bool_)) for entry in listed):
        return np.flatnonzero(listed)
    return np.array([names.index(e) if isinstance(e, str) else e for e in listed], dtype=np.intp)


def _chosen(inputs: Any, columns: Any, positions: NDArray[np.intp]) -> Any:
    """What the transformer of these columns was given: one column alone where one was named."""
    alone = np.ndim(columns) == 0 and not isinstance(columns, slice)
    at: Any = int(positions[0]) if alone else positions
    return inputs.iloc[:, at] if hasattr(inputs, "iloc") else inputs[:, at]
