"""Kernel machines as expansions: scikit-learn's support vector machines, and estimators of ours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn import svm

from ..errors import InvalidInput, UnsupportedOperation
from .affine import dense
from .estimators import classified, in_columns, labels, linear_way, reference_of, refuse, valued
from .expansion import Expansion
from .kernel import Kernel
from .kernels import Polynomial, Rbf, Sigmoid
from .machines import pairwise_expansions, whole_expansion
from .registry import estimator
from .shared import Floats, Shared
from .walking import TAYLOR, Decided, Options, Walk, line

EXACT = "sum of kernels"


@estimator(svm.SVC, svm.NuSVC)
def support_classifier(model: Any, inputs: Any, options: Options) -> Decided:
    """The decision between two classes; for more, one against one, a decision for each pair."""
    refuse(model, options, "reference")
    by_pairs = copy.copy(model)  # whose decision is not the votes that the pairs give
    by_pairs.decision_function_shape, by_pairs.break_ties = "ovo", False
    scores = in_columns(by_pairs.decision_function(inputs))
    back = _way(model, inputs, scores, options)
    if scores.shape[1] == 1:
        return classified(scores, model.classes_, back)
    classes = labels(model.classes_)
    return Decided(scores, tuple(combinations(classes, 2)), "pairs", back, classes)


@estimator(svm.SVR, svm.NuSVR)
def support_regressor(model: Any, inputs: Any, options: Options) -> Decided:
    """A value, relative to the reference where one is given."""
    reference = reference_of(options, 1)
    scores = in_columns(model.predict(inputs)) - reference
    return valued(scores, _way(model, inputs, scores, options, reference))


@estimator(svm.OneClassSVM)
def support_one_class(model: Any, inputs: Any, options: Options) -> Decided:
    """sum_i alpha_i k(y_i, x) - rho: positive for inliers (A.9)."""
    refuse(model, options, "reference")
    scores = in_columns(model.decision_function(inputs))
    return valued(scores, _way(model, inputs, scores, options), "inlier")


def own_machine(model: Any, inputs: Any, options: Options) -> Decided:
    """An estimator with `expansions_` and `expansion_names_`: pairs, classes or values."""
    names, expansions = tuple(model.expansion_names_), list(model.expansions_)
    classes = labels(model.classes_) if hasattr(model, "classes_") else ()
    if classes or options.reference is None:
        refuse(model, options, "reference")
    else:
        shifts = reference_of(options, len(expansions))
        pairs = zip(expansions, shifts, strict=True)
        expansions = [replace(one, bias=one.bias - shift) for one, shift in pairs]
    samples = dense(inputs)
    if len(expansions) == 1 and expansions[0].kernel.decomposes:
        scores, back = _at_once(model, samples, expansions[0], options)
    else:
        scores = np.stack([one.score(samples) for one in expansions], axis=1)
        back = _expansion_way(model, samples, expansions, scores, options)
    if len(classes) == 2 and len(names) == 1:
        return classified(scores, classes, back)
    if not classes:
        return Decided(scores, names, "values", back)
    kind: Any = "pairs" if isinstance(names[0], tuple) else "classes"
    return Decided(scores, names, kind, back, classes)


def _way(
    model: Any, inputs: Any, scores: Floats, options: Options, reference: Any = 0.0
) -> Callable[[Floats], Walk]:
    """The way back through one of the host's machines; a linear one has weights."""
    if model.kernel == "linear":
        offset = model.intercept_ - reference
        return linear_way(model, inputs, model.coef_, offset, scores, options)
    vectors = dense(model.support_vectors_)
    fitted = SimpleNamespace(  # what a machine that was fitted to sparse data has, too
        classes_=getattr(model, "classes_", None),
        n_support_=model.n_support_,
        dual_coef_=dense(model.dual_coef_),
        intercept_=model.intercept_ - reference,
    )
    kernel = _kernel(model)
    if fitted.classes_ is None:
        expansions = [whole_expansion(fitted, kernel, vectors)]
    else:
        expansions, _ = pairwise_expansions(fitted, kernel, vectors)
    return _expansion_way(model, dense(inputs), expansions, scores, options)


def _kernel(model: Any) -> Kernel:
    """The host's kernel as one of ours.

    Raises UnsupportedOperation for functions and precomputed kernels, with which the host keeps
    no support vectors.
    """
    if model.kernel not in ("rbf", "poly", "sigmoid"):
        own = "KernelOneClass" if isinstance(model, svm.OneClassSVM) else "KernelSVC or KernelSVR"
        raise UnsupportedOperation(
            f"{type(model).__name__} keeps no support vectors with kernel={model.kernel!r}: use "
            f"relprop.classical.{own} with a kernel of relprop.classical"
        )
    gamma = float(model._gamma)  # the host shows the number behind "scale" nowhere else
    if model.kernel == "rbf":
        return Rbf(gamma)
    if model.kernel == "poly":
        return Polynomial(degree=model.degree, gamma=gamma, coef0=model.coef0)
    return Sigmoid(gamma=gamma, coef0=model.coef0)


def _expansion_way(
    model: Any, samples: Floats, expansions: Sequence[Expansion], scores: Floats, options: Options
) -> Callable[[Floats], Walk]:
    """The way back through weighted expansions: each is decomposed where its weight is not 0."""
    exact = expansions[0].kernel.decomposes
    if exact:
        refuse(model, options, "candidates", "root")
    elif options.bias != "absorb":
        raise InvalidInput(
            f"bias={options.bias!r} has nothing to spread where a kernel is expanded at a root: "
            "constants cancel there (2.76). Leave it out, or take a kernel that decomposes"
        )

    def back(weights: Floats) -> Walk:
        relevance, nothing = np.zeros_like(samples), np.zeros(len(samples))
        total = Shared(relevance, nothing, nothing.copy(), nothing.copy())
        for k, expansion in enumerate(expansions):
            rows = np.flatnonzero(weights[:, k])
            if len(rows):
                part = _decomposed(expansion, samples, rows, options)
                _add(total, part, rows, weights[rows, k])
        rule = EXACT if exact else TAYLOR
        received = (weights * scores).sum(1)
        return Walk(total.relevance, (line("", type(model).__name__, rule, received, total),))

    return back


def _at_once(
    model: Any, samples: Floats, expansion: Expansion, options: Options
) -> tuple[Floats, Callable[[Floats], Walk]]:
    """The score of the only decision, exact, and its shares from the same kernel values."""
    refuse(model, options, "candidates", "root")
    shared, notes = expansion.decompose(samples, bias=options.bias)

    def back(weights: Floats) -> Walk:
        factor = weights[:, 0]
        absorbed = (factor * figure for figure in (shared.bias, shared.stabiliser, shared.lost))
        total = Shared(shared.relevance * weights, *absorbed)
        received = factor * notes.score
        entry = line("", type(model).__name__, EXACT, received, total)
        return Walk(total.relevance, (entry,))

    return notes.score[:, None], back


def _decomposed(expansion: Expansion, samples: Floats, rows: Any, options: Options) -> Shared:
    root = None if options.root is None else dense(options.root)
    if root is not None and root.shape == samples.shape:
        root = root[rows]
    candidates = None if options.candidates is None else dense(options.candidates)
    shared, _ = expansion.decompose(
        samples[rows], bias=options.bias, candidates=candidates, root=root
    )
    return shared


def _add(total: Shared, part: Shared, rows: Any, weights: Floats) -> None:
    total.relevance[rows] += weights[:, None] * part.relevance
    for name in ("bias", "stabiliser", "lost"):
        getattr(total, name)[rows] += weights * getattr(part, name)
