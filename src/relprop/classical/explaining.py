"""Explain fitted scikit-learn models: from a decision back to the columns of a table, or words."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError

from ..errors import InvalidInput, RelpropError
from ..propagation.ledger import Ledger, Row
from ..result import Explanation
from . import composites, networks, wrappers  # noqa: F401 - registered
from .dispatch import decided
from .shared import Floats
from .targets import choose_start
from .walking import TAYLOR, Decided, Options, Walk, magnitudes, sums

BIASES = ("absorb", "distribute", "weights")
_FIGURES = ("received", "passed", "bias", "stabiliser", "lost")


def explain_estimator(
    model: Any,
    inputs: Any,
    target: Any = None,
    *,
    candidates: Any = None,
    root: Any = None,
    reference: Any = None,
    bias: str = "absorb",
    centred: bool = True,
    epsilon: float | None = None,
) -> Explanation:
    """Explain what a fitted scikit-learn model, or one of ours, said about its inputs.

    Relevance is numpy `[n, d]` (`[n, K, d]` for "all" and groups): a table's columns; a sparse
    array where the inputs are sparse; for documents and pictures a list with one array each, and
    `names` holds the documents' tokens. What the model said is in `output`, `[n]` or `[n, K]`.

    Args:
        model: an estimator, or a Pipeline that ends in one.
        inputs: what the model predicts from: an array, a DataFrame, sparse, documents, pictures.
        target: None (the predicted class; the decision itself where there are two classes, and
            the value of a regression), a class label, a class index where labels are no numbers,
            one of these for each sample, a pair of classes for a one-against-one machine, float
            weights of the outputs, a callable from output to these, a dict of groups, or "all".
            Of two classes the first gives the decision with its sign turned.
        candidates: samples among which kernel machines seek root points (thesis 2.4.2), in the
            space of `inputs`. root: the root points themselves, `[d]` or `[n, d]`.
        reference: explain a regression's difference to this value.
        bias: "absorb" it in the ledger, "distribute" it evenly over the dimensions that the
            estimator reads (2.73), or by a linear model's "weights", w_d^2 / ||w||^2.
        centred: take (x - mean) as the input of scalers and PCA; otherwise x, and the mean's part
            is a bias (notes on D.1.1).
        epsilon: of the epsilon rule in steps that mix features, and in neural networks.

    Raises InvalidInput, InvalidTarget, UnsupportedOperation, NoRootFound.
    """
    if bias not in BIASES:
        raise InvalidInput(f"bias must be one of {', '.join(BIASES)}, got {bias!r}")
    options = Options(bias, candidates, root, reference, bool(centred), epsilon)
    values = _readable(inputs)
    found = _decided(model, values, options)
    start = choose_start(found, target)
    walks = [found.back(weights) for weights in start.weights]
    relevance = _relevance(walks, values, start.single)
    explained = np.stack([(weights * found.scores).sum(1) for weights in start.weights], 1)
    return Explanation(
        relevance=relevance,
        output=found.scores[:, 0] if found.scores.shape[1] == 1 else found.scores,
        target=start.target,
        method="lrp",
        preset="classical",
        layers={},
        ledger=_ledger(walks, explained, start.single),
        notes=_notes(found, walks),
        grouped=not start.single,
        names=walks[0].names or _columns(values),
    )


def _decided(model: Any, inputs: Any, options: Options) -> Decided:
    """What the model says; what the host says against its inputs becomes an error of ours."""
    try:
        return decided(model, inputs, options)
    except RelpropError:
        raise
    except NotFittedError as error:
        raise InvalidInput(f"the model is not fitted: {error}") from error
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{type(model).__name__} does not take these inputs: {error}") from error


def _readable(inputs: Any) -> Any:
    """Inputs as the host reads them: tensors as arrays, single precision as double."""
    if isinstance(inputs, str):
        raise InvalidInput("inputs are one text; give a list of texts")
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.detach().cpu().numpy()
    if sparse.issparse(inputs):
        return sparse.csr_array(inputs, dtype=np.float64)
    if isinstance(inputs, (list, tuple)) and len(inputs):
        if isinstance(inputs[0], Number):
            raise InvalidInput(f"inputs must be samples, [n, d]; got a list of {inputs[0]!r}, ...")
        if isinstance(inputs[0], (list, tuple)):
            inputs = np.asarray(inputs)
    if isinstance(inputs, np.ndarray) and inputs.ndim == 2 and inputs.dtype.kind == "f":
        return inputs.astype(np.float64)
    return inputs


def _relevance(walks: Sequence[Walk], inputs: Any, single: bool) -> Any:
    """One array a sample, `[n, d]`, or `[n, K, d]`: as the inputs are."""
    maps = [walk.relevance for walk in walks]
    if isinstance(maps[0], list):
        return maps[0] if single else [np.stack(of_one) for of_one in zip(*maps, strict=True)]
    if single and sparse.issparse(inputs):
        return sparse.csr_array(maps[0])
    arrays = [entry.toarray() if sparse.issparse(entry) else entry for entry in maps]
    return arrays[0] if single else np.stack(arrays, axis=1)


def _columns(inputs: Any) -> list[str] | None:
    """The names of a DataFrame's columns."""
    return [str(name) for name in inputs.columns] if hasattr(inputs, "columns") else None


def _notes(found: Decided, walks: Sequence[Walk]) -> tuple[str, ...]:
    notes = list(found.notes)
    if found.kind == "binary":
        notes.append(
            f"the decision is between {found.classes[0]!r} (negative) and {found.classes[1]!r} "
            "(positive)"
        )
    notes += [note for walk in walks for note in walk.notes]
    lines = [entry for walk in walks for entry in walk.lines if entry.rule == TAYLOR]
    if lines:
        lost = np.concatenate([np.abs(entry.lost) for entry in lines])
        received = np.concatenate([np.abs(entry.received) for entry in lines])
        share = float(np.median(lost / np.maximum(received, np.finfo(np.float64).tiny)))
        notes.append(
            "expanded to first order at root points (2.76): what that leaves out is in the ledger "
            f"as lost, in half of all cases more than {share:.2g} of the score"
        )
    return tuple(dict.fromkeys(notes))


def _ledger(walks: Sequence[Walk], explained: Floats, single: bool) -> Ledger:
    """The lines of all walks as a ledger, `[n]`, or `[n, K]` for K targets."""
    keys: dict[tuple[str, str, str], list[dict[str, Floats]]] = {}
    for k, walk in enumerate(walks):
        for entry in walk.lines:
            empty: list[dict[str, Floats]] = [{} for _ in walks]
            figures = keys.setdefault((entry.module, entry.operation, entry.rule), empty)[k]
            for name in _FIGURES:
                figures[name] = figures.get(name, 0.0) + getattr(entry, name)
    nothing = np.zeros(len(explained))

    def tensor(columns: Sequence[Floats]) -> torch.Tensor:
        stacked = torch.from_numpy(np.stack([np.asarray(column) for column in columns], 1))
        return stacked[:, 0].clone() if single else stacked

    rows = [
        Row(*key, *(tensor([of_one.get(name, nothing) for of_one in each]) for name in _FIGURES))
        for key, each in keys.items()
    ]
    arrived = tensor([sums(walk.relevance) for walk in walks])
    magnitude = tensor([magnitudes(walk.relevance) for walk in walks])
    return Ledger(tuple(rows), tensor(list(explained.T)), arrived, magnitude)
