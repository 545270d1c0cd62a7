"""Transformers backwards, one rule each: scalers, projections, encoders, selections."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import decomposition, feature_selection, impute, preprocessing
from sklearn.feature_extraction import text

from ..errors import UnsupportedOperation
from .affine import dense, numbers, share_affine, share_diagonal
from .registry import STEPS, Step, handler_of, step
from .shared import Shared
from .walking import Options, Walk, line, sums, whole


def walk_step(
    module: str, transformer: Any, inputs: Any, outputs: Any, relevance: Any, options: Options
) -> Walk:
    """Relevance of a transformer's outputs to its inputs, with its line.

    Raises UnsupportedOperation for an unknown transformer.
    """
    if hasattr(transformer, "redistribute"):
        found, rule = transformer.redistribute(inputs, dense(relevance)), "redistribute"
    else:
        known: Step = handler_of("transformer", transformer, STEPS, ("transform",))
        found, rule = known.back(transformer, inputs, outputs, relevance, options), known.rule
    return _walk(module, transformer, rule, relevance, found)


def walk_recorded(module: str, transformer: Any, recorded: Any, relevance: Any) -> Walk:
    """The same for a transformer that kept a way back when it ran: `record(inputs)`."""
    found = recorded.redistribute(dense(relevance))
    return _walk(module, transformer, "redistribute", relevance, found)


def _walk(module: str, transformer: Any, rule: str, relevance: Any, found: Shared) -> Walk:
    name = type(transformer).__name__
    return Walk(found.relevance, (line(module, name, rule, sums(relevance), found),))


def _along(scale: Any, offset: Any, tables: tuple[Any, Any, Any], options: Options) -> Shared:
    """z_d = scale_d x_d + offset_d: unchanged where (x + offset / scale) is the input."""
    inputs, outputs, relevance = tables
    if options.centred or not np.any(offset):
        return whole(relevance)
    return share_diagonal(inputs, scale, offset, outputs, relevance, options.epsilon or 0.0)


@step(preprocessing.StandardScaler, rule="scale")
def standard_scaler(scaler: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """z = (x - mean) / scale."""
    scale = 1.0 if scaler.scale_ is None else 1 / scaler.scale_
    mean = scaler.mean_ if scaler.with_mean else 0.0
    return _along(scale, -mean * scale, (x, z, relevance), options)


@step(preprocessing.RobustScaler, rule="scale")
def robust_scaler(scaler: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """z = (x - centre) / scale."""
    scale = 1 / scaler.scale_ if scaler.with_scaling else 1.0
    centre = scaler.center_ if scaler.with_centering else 0.0
    return _along(scale, -centre * scale, (x, z, relevance), options)


@step(preprocessing.MinMaxScaler, rule="scale")
def min_max_scaler(scaler: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """z = scale x + min; what `clip` cut off goes the way of the rest."""
    unclipped = dense(x) * scaler.scale_ + scaler.min_
    return _along(scaler.scale_, scaler.min_, (x, unclipped, relevance), options)


@step(
    preprocessing.MaxAbsScaler,
    preprocessing.Normalizer,
    preprocessing.Binarizer,
    preprocessing.PowerTransformer,
    preprocessing.QuantileTransformer,
    preprocessing.OrdinalEncoder,
    text.TfidfTransformer,
    rule="unchanged",
)
def each_by_itself(_: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """Every output is its input but for a factor or a function of one number (thesis 4.3)."""
    return whole(relevance)


@step(preprocessing.FunctionTransformer, rule="unchanged")
def function_transformer(function: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """Nothing at all, or one of numpy's functions of one number.

    Raises UnsupportedOperation for other functions.
    """
    if function.func is None or (isinstance(function.func, np.ufunc) and function.func.nin == 1):
        return whole(relevance)
    raise UnsupportedOperation(
        f"FunctionTransformer({function.func!r}) may mix features. Functions of numpy that take "
        "one number (numpy.log1p) are understood; for others write a transformer with a method "
        "redistribute(inputs, relevance) that returns a relprop.classical.Shared"
    )


@step(decomposition.PCA, decomposition.IncrementalPCA, rule="z")
def pca(projection: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """z = W (x - mean): (x - mean) is the input, or x with the bias -W mean (notes on D.1.1)."""
    weights = projection.components_
    if projection.whiten:
        deviations = np.sqrt(projection.explained_variance_)
        floor = np.finfo(deviations.dtype).eps  # as the host does, for directions without variance
        weights = weights / np.maximum(deviations, floor)[:, None]
    epsilon = options.epsilon or 0.0
    if options.centred:
        centred = dense(x) - projection.mean_
        return share_affine(centred, weights, 0.0, dense(z), relevance, epsilon)
    offset = -weights @ projection.mean_
    return share_affine(numbers(x), weights, offset, dense(z), relevance, epsilon)


@step(decomposition.TruncatedSVD, rule="z")
def truncated_svd(projection: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """z = W x."""
    epsilon = options.epsilon or 0.0
    return share_affine(numbers(x), projection.components_, 0.0, dense(z), relevance, epsilon)


@step(feature_selection.SelectorMixin, rule="move")
def selector(chosen: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """Some columns and not others: relevance goes back to its column."""
    return whole(moved(relevance, chosen.get_support(indices=True), x.shape[1]))


@step(impute.SimpleImputer, rule="move")
def imputer(filled: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """Missing values filled in: their relevance goes to the place where they are missing."""
    if filled.add_indicator:
        raise UnsupportedOperation("SimpleImputer(add_indicator=True) is not explained; leave it")
    width = x.shape[1]
    if relevance.shape[1] == width:
        return whole(relevance)
    missing = [value is None or value != value for value in filled.statistics_.tolist()]
    return whole(moved(relevance, np.flatnonzero(np.logical_not(missing)), width))


@step(preprocessing.OneHotEncoder, rule="sum")
def one_hot_encoder(encoder: Any, x: Any, z: Any, relevance: Any, options: Options) -> Shared:
    """A column's relevance is the sum over its categories, those that are absent included."""
    width = x.shape[1]
    names = list(getattr(encoder, "feature_names_in_", [f"x{d}" for d in range(width)]))
    named = copy.copy(encoder)
    named.feature_name_combiner = lambda column, category: column
    owners = [names.index(column) for column in named.get_feature_names_out()]
    return whole(moved(relevance, np.array(owners), width))


def moved(relevance: Any, columns: NDArray[np.intp], width: int) -> Any:
    """Entry k is added to column columns_k of `[n, width]`."""
    entries = np.ones(len(columns)), (np.arange(len(columns)), columns)
    moves = sparse.csr_array(sparse.coo_array(entries, (len(columns), width)))
    return sparse.csr_array(relevance) @ moves if sparse.issparse(relevance) else relevance @ moves
