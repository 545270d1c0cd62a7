"""scikit-learn's neural networks: the epsilon rule layer by layer, and as torch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn import neural_network

from ..errors import InvalidInput, UnsupportedOperation
from .affine import contributions, dense, quotients
from .estimators import classified, reference_of, refuse, spread_bias, valued
from .registry import estimator
from .shared import Floats, Shared
from .walking import Decided, Line, Options, Walk, line

EPSILON = 1e-6  # as relprop.Epsilon() has it
_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "logistic": expit,
}
_MODULES = {
    "identity": torch.nn.Identity,
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "logistic": torch.nn.Sigmoid,
}


@estimator(neural_network.MLPClassifier)
def network_classifier(model: Any, inputs: Any, options: Options) -> Decided:
    """The output before the softmax, or before the logistic function of two classes."""
    refuse(model, options, "reference")
    layers, scores = _run(model, inputs, 0.0)
    return classified(scores, model.classes_, _way(model, layers, scores, options))


@estimator(neural_network.MLPRegressor)
def network_regressor(model: Any, inputs: Any, options: Options) -> Decided:
    """The predicted values, relative to the reference where one is given.

    Raises UnsupportedOperation where the last layer is not linear.
    """
    if model.out_activation_ != "identity":
        raise UnsupportedOperation(
            f"MLPRegressor with the output function {model.out_activation_!r} is not explained; "
            "relprop.classical.as_network(model) is the network before it, for relprop.explain"
        )
    reference = reference_of(options, model.n_outputs_)
    layers, scores = _run(model, inputs, reference)
    return valued(scores, _way(model, layers, scores, options))


Layer = tuple[Floats, Floats, Floats, Floats]  # inputs [n, d], weights [K, d], bias [K], z [n, K]


def _run(model: Any, inputs: Any, reference: Any) -> tuple[list[Layer], Floats]:
    """What every layer read and gave before its activation; the last one's z are the scores."""
    model.predict(inputs)  # the host's own checks of the inputs
    values, layers = dense(inputs), []
    last = len(model.coefs_) - 1
    for i, (coefs, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        weights = np.asarray(coefs, dtype=np.float64).T
        offset = bias.astype(np.float64) - (reference if i == last else 0.0)
        z = values @ weights.T + offset
        layers.append((values, weights, offset, z))
        values = _ACTIVATIONS[model.activation](z)
    return layers, layers[-1][3]


def _way(
    model: Any, layers: list[Layer], scores: Floats, options: Options
) -> Callable[[Floats], Walk]:
    refuse(model, options, "candidates", "root")
    if options.bias == "weights":
        raise InvalidInput(
            "bias='weights' is for linear models; a network has 'absorb' and 'distribute'"
        )
    epsilon = EPSILON if options.epsilon is None else options.epsilon

    def back(start: Floats) -> Walk:
        relevance, lines = start * scores, []
        for i in reversed(range(len(layers))):
            entry, relevance = _layer(f"layer {i + 1}", layers[i], relevance, epsilon, options.bias)
            lines.append(entry)
        return Walk(relevance, tuple(lines))

    return back


def _layer(
    name: str, layer: Layer, relevance: Floats, epsilon: float, bias: str
) -> tuple[Line, Floats]:
    """One layer by the epsilon rule (2.22); activations let relevance through."""
    inputs, weights, offset, z = layer
    ratio, stabiliser, lost = quotients(z, relevance, epsilon)
    spread = spread_bias(contributions(inputs, ratio, weights), ratio * offset, weights, bias)
    shared = Shared(spread.relevance, spread.bias, stabiliser, lost)
    return line(name, "dense", "epsilon", relevance.sum(1), shared), shared.relevance


def as_network(model: Any) -> torch.nn.Sequential:
    """A fitted MLPClassifier or MLPRegressor as a torch network in float64, for other rules:
    `relprop.explain(as_network(model), tensor, rules="alpha-beta")`.

    It ends before the softmax or the logistic function. Raises UnsupportedOperation for others.
    """
    if not isinstance(model, (neural_network.MLPClassifier, neural_network.MLPRegressor)):
        raise UnsupportedOperation(
            f"as_network takes MLPClassifier and MLPRegressor, not {type(model).__name__}"
        )
    if not hasattr(model, "coefs_"):
        raise InvalidInput(f"{type(model).__name__} is not fitted; call fit first")
    modules: list[torch.nn.Module] = []
    for coefs, bias in zip(model.coefs_, model.intercepts_, strict=True):
        layer = torch.nn.Linear(coefs.shape[0], coefs.shape[1], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(coefs.T))
            layer.bias.copy_(torch.from_numpy(bias))
        modules += [layer, _MODULES[model.activation]()]
    return torch.nn.Sequential(*modules[:-1]).eval()
