"""Pipelines, unions and column transformers backwards: one after another, side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import compose, pipeline

from ..errors import UnsupportedOperation
from .affine import dense, numbers
from .dispatch import decided
from .registry import estimator
from .shared import Floats
from .steps import moved, walk_step
from .vectorizers import is_vectorizer, walk_words
from .walking import Decided, Options, Walk, line, sums, together, whole

_NOTHING = (None, "passthrough")


@estimator(pipeline.Pipeline)
def explained_pipeline(model: Any, inputs: Any, options: Options) -> Decided:
    """The last step's decision, and the way back through it and through the steps before."""
    before, (name, final) = model.steps[:-1], model.steps[-1]
    trace = _trace(before, inputs)
    inner = options
    if options.candidates is not None:
        inner = replace(inner, candidates=_trace(before, options.candidates)[-1])
    if options.root is not None:
        inner = replace(inner, root=_root(before, options.root))
    found = decided(final, trace[-1], inner)

    def back(weights: Floats) -> Walk:
        return _walk_steps("", before, trace, found.back(weights).inside(name), options)

    return replace(found, back=back)


def _trace(steps: Any, inputs: Any) -> list[Any]:
    """The inputs, and what each step made of them."""
    trace = [inputs]
    for _, transformer in steps:
        last = trace[-1]
        trace.append(last if transformer in _NOTHING else transformer.transform(last))
    return trace


def _root(steps: Any, root: Any) -> Any:
    """Root points as the last step sees them; one for all samples stays one."""
    if np.ndim(root) == 1:
        return dense(_trace(steps, np.asarray(root)[None])[-1])[0]
    return _trace(steps, root)[-1]


def _walk_steps(module: str, steps: Any, trace: list[Any], walk: Walk, options: Options) -> Walk:
    """Back through steps that ran one after another, from relevance at the last one's outputs."""
    for (name, transformer), inputs, outputs in reversed(
        list(zip(steps, trace[:-1], trace[1:], strict=True))
    ):
        if transformer not in _NOTHING:
            inside = f"{module}.{name}" if module else name
            part = walk_any(inside, transformer, inputs, outputs, walk.relevance, options)
            walk = _continued(walk, part)
    return walk


def _continued(walk: Walk, part: Walk) -> Walk:
    return Walk(part.relevance, walk.lines + part.lines, walk.notes + part.notes, part.names)


def walk_any(
    module: str, transformer: Any, inputs: Any, outputs: Any, relevance: Any, options: Options
) -> Walk:
    """Relevance of a transformer's outputs to its inputs, whether it is made of others or not.

    Raises UnsupportedOperation for an unknown transformer.
    """
    if type(transformer) is pipeline.Pipeline:
        trace = _trace(transformer.steps, inputs)
        return _walk_steps(module, transformer.steps, trace, Walk(relevance, ()), options)
    if type(transformer) is pipeline.FeatureUnion:
        return _walk_union(module, transformer, inputs, relevance, options)
    if type(transformer) is compose.ColumnTransformer:
        return _walk_columns(module, transformer, inputs, outputs, relevance, options)
    if is_vectorizer(transformer):
        return walk_words(module, transformer, inputs, relevance)
    return walk_step(module, transformer, inputs, outputs, relevance, options)


def _walk_union(module: str, union: Any, inputs: Any, relevance: Any, options: Options) -> Walk:
    """Each part of the outputs goes back through the transformer that made it."""
    walks, begin = [], 0
    for name, transformer in union.transformer_list:
        if transformer == "drop":
            continue
        outputs = inputs if transformer in _NOTHING else transformer.transform(inputs)
        end = begin + outputs.shape[1]
        part, begin = relevance[:, begin:end], end
        inside = f"{module}.{name}"
        walks.append(
            _passed(inside, part)
            if transformer in _NOTHING
            else walk_any(inside, transformer, inputs, outputs, part, options)
        )
    if any(walk.names != walks[0].names for walk in walks):
        raise UnsupportedOperation(
            f"{module}: its vectorizers cut texts into different tokens, so their relevance "
            "cannot be added; explain models on one of them at a time"
        )
    return together(walks)


def _walk_columns(
    module: str, columned: Any, inputs: Any, outputs: Any, relevance: Any, options: Options
) -> Walk:
    """Each part of the outputs goes back to the columns that it was made of.

    Of a column of texts the whole relevance is given, in its one place.
    """
    width, values = inputs.shape[1], numbers(outputs)
    walks = []
    for name, transformer, columns in columned.transformers_:
        place = columned.output_indices_[name]
        if place.start == place.stop:
            continue
        inside, part = f"{module}.{name}", relevance[:, place]
        positions = _positions(columns, inputs)
        if transformer in _NOTHING:
            walk = _passed(inside, part)
        else:
            chosen = _chosen(inputs, columns, positions)
            walk = walk_any(inside, transformer, chosen, values[:, place], part, options)
        found = sums(walk.relevance)[:, None] if walk.names else walk.relevance
        walks.append(replace(walk, relevance=moved(found, positions, width), names=None))
    return together(walks)


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
