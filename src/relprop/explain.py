"""The front door: explain a model's predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .errors import InvalidInput, RelpropWarning
from .explainer import is_estimator, layer_names, network_of
from .propagation.checks import check_inputs
from .propagation.lrp import Options, check_names, explain_run, find_route
from .propagation.presets import Preset
from .propagation.record import record as record_run
from .propagation.recording import Recording
from .propagation.rules import Epsilon, Rule
from .propagation.targets import part_of, weights_of
from .result import Explanation, merged

PAIRED = {"reference", "root"}  # options that may hold one entry for each sample
ROOM = 6  # times the largest value: relevance, denominators, quotients of two flows


def explain(
    model: Callable[..., Any],
    inputs: Any,
    target: Any = None,
    *,
    method: str = "lrp",
    rules: str | Rule | Preset | None = None,
    flat_until: str | None = None,
    layers: Sequence[str] = (),
    class_axis: int = -1,
    batch_size: int | None = None,
    max_memory: int | None = None,
    differentiable: bool = False,
    candidates: Any = None,
    root: Any = None,
    reference: Any = None,
    bias: str = "absorb",
    **options: Any,
) -> Explanation:
    """Explain what `model` said about `inputs`: signed contributions that sum to the output.

    Args:
        model: a torch module in evaluation mode, a callable from tensors to a tensor or to an
            object with `.logits`, or a fitted scikit-learn model or pipeline.
        inputs: a tensor `[N, ...]`, a tuple (`model(*inputs)`) or a dict (`model(**inputs)`);
            for scikit-learn what the model predicts from.
        target: None (the predicted class of each sample), a class, a class per sample, float
            weights shaped like the output, a callable from output to weights, a dict of name ->
            classes, or "all".
        method: "lrp", "lrp:" and the name of a preset, or another of `relprop.methods.METHODS`
            ("sensitivity", "deconvolution", ...), whose options are given by name.
        rules: the name of a preset (`relprop.presets()`), one rule for everything, or a Preset;
            None chooses by the kind of network, and the explanation names the choice.
        flat_until: the module up to which every layer shares evenly (thesis 5.4.2).
        layers: names of modules whose outputs' relevance is wanted too.
        class_axis: the axis of the classes in the output.
        batch_size: explain this many samples at a time.
        max_memory: explain as many samples at a time as these bytes allow, beside the model and
            the maps; one sample is run first to see what it takes.
        differentiable: keep gradients, so that relevance can be trained against (thesis 7.1).
        candidates, root, reference: for kernel machines and regressions of scikit-learn; refused
            for networks. `relprop.classical.explain_estimator` describes them, and `centred`.
        bias: "absorb", "distribute" evenly over the inputs, or "ignore"; linear models of
            scikit-learn also by their "weights".

    Raises InvalidInput, InvalidTarget, InvalidRule, UnknownName, UnsupportedOperation.
    """
    if is_estimator(model):
        networks_only = {
            "flat_until": flat_until,
            "layers": layers or None,
            "class_axis": None if class_axis == -1 else class_axis,
            "batch_size": batch_size,
            "max_memory": max_memory,
            "differentiable": differentiable or None,
        }
        shared = {"candidates": candidates, "root": root, "reference": reference, "bias": bias}
        return _classical(
            model, inputs, target, method, rules, networks_only, {**shared, **options}
        )
    if not isinstance(method, str) or method.partition(":")[0] != "lrp":
        refused = {
            "rules": rules,
            "flat_until": flat_until,
            "layers": layers or None,
            "max_memory": max_memory,
            "differentiable": differentiable or None,
            "bias": None if bias == "absorb" else bias,
        }
        axis = None if class_axis == -1 else class_axis
        shared = _given(candidates=candidates, root=root, reference=reference, class_axis=axis)
        return _otherwise(
            *(model, inputs, target, method, batch_size), refused, {**shared, **options}
        )
    if options:
        raise InvalidInput(f"method 'lrp' has no option {next(iter(options))!r}")
    rules = _preset_of(method, rules)
    for name, given in (("candidates", candidates), ("root", root), ("reference", reference)):
        if given is not None:
            raise InvalidInput(
                f"{name}= belongs to models that are explained at a root point; a network has none"
            )
    settings = Options(rules, flat_until, layer_names(layers), class_axis, bias)
    if max_memory is not None:
        fitting = _fitting(model, inputs, settings, max_memory)
        batch_size = fitting if batch_size is None else min(fitting, batch_size)
    if batch_size is None:
        return _explain(model, inputs, target, settings, differentiable)
    return _in_batches(
        lambda part, share, _: _explain(model, part, share, settings, differentiable),
        *(inputs, target, batch_size),
    )


def _classical(
    model: Any,
    inputs: Any,
    target: Any,
    method: str,
    rules: Any,
    refused: dict[str, Any],
    options: dict[str, Any],
) -> Explanation:
    """Explain a fitted scikit-learn model, or one of `relprop.classical`."""
    from .classical.explaining import explain_estimator

    name = type(model).__name__
    if method != "lrp":
        raise InvalidInput(f"method={method!r} is for networks; {name} is explained by 'lrp'")
    for option in _given(**refused):
        raise InvalidInput(f"{option}= is for networks; {name} has no use for it")
    for option in options.keys() - {"candidates", "root", "reference", "bias", "centred"}:
        raise InvalidInput(f"method 'lrp' has no option {option!r}")
    if isinstance(rules, Epsilon) and not rules.relative and rules.bias == "absorb":
        options["epsilon"] = rules.epsilon
    elif rules is not None:
        raise InvalidInput(
            f"rules={rules!r} is for torch networks; {name} takes relprop.Epsilon(epsilon). Of a "
            "neural network of scikit-learn relprop.classical.as_network makes a torch network"
        )
    return explain_estimator(model, inputs, target, **options)


def _preset_of(method: str, rules: Any) -> Any:
    """The rules, which "lrp:thesis" may name too."""
    _, named, preset = method.partition(":")
    if named and rules is not None:
        raise InvalidInput(f"method={method!r} names a preset, and rules= is given too")
    return preset if named else rules


def _given(**options: Any) -> dict[str, Any]:
    return {name: option for name, option in options.items() if option is not None}


def _otherwise(
    model: Any,
    inputs: Any,
    target: Any,
    method: str,
    batch_size: int | None,
    refused: dict[str, Any],
    options: dict[str, Any],
) -> Explanation:
    """Explain by another method than LRP."""
    from .methods import find

    found = find(method)
    for name in _given(**refused):
        raise InvalidInput(f"{name}= belongs to method 'lrp', not to {method!r}")

    def piece(part: Any, share: Any, chosen: slice = slice(None)) -> Explanation:
        own = {name: _share_of(options[name], inputs, chosen) for name in PAIRED & set(options)}
        return found(network_of(model), part, share, **{**options, **own})

    return (
        piece(inputs, target)
        if batch_size is None
        else _in_batches(piece, inputs, target, batch_size)
    )


def _share_of(option: Any, inputs: Any, chosen: slice) -> Any:
    """What belongs to these samples; tensors that are not one for each sample stay as they are."""
    stacked = {
        (leaf.ndim, len(leaf)) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)
    }
    return pytree.tree_map(
        lambda leaf: (
            leaf[chosen]
            if isinstance(leaf, Tensor) and leaf.ndim and (leaf.ndim, len(leaf)) in stacked
            else leaf
        ),
        option,
    )


def record(model: Callable[..., Any], inputs: Any) -> Recording:
    """Run the model once and keep everything; the recording explains as many targets as wanted.

    Has `.output`, `.operations` and `.explain(target=, rules=, layers=)`. Raises as `explain`.
    """
    return record_run(network_of(model), inputs)


def _explain(
    model: Callable[..., Any],
    inputs: Any,
    target: Any,
    options: Options,
    differentiable: bool,
) -> Explanation:
    model = network_of(model)
    check_names(model, options)
    with torch.inference_mode(False), torch.set_grad_enabled(differentiable):
        recording = record_run(model, inputs, layers=options.layers, differentiable=differentiable)
        route = find_route(recording, options)
        return explain_run(recording, route, target, options, release=not differentiable)


def _fitting(model: Any, inputs: Any, options: Options, max_memory: int) -> int:
    """How many samples fit into so many bytes: all values of a run, and room to work in."""
    if isinstance(max_memory, bool) or not isinstance(max_memory, int) or max_memory < 1:
        raise InvalidInput(f"max_memory must be a number of bytes, got {max_memory!r}")
    check_inputs(inputs)
    one = pytree.tree_map(lambda leaf: leaf[:1] if isinstance(leaf, Tensor) else leaf, inputs)
    recording = record_run(network_of(model), one, layers=options.layers)
    sizes = [value.nbytes for value in recording.values if value is not None]
    needed = sum(sizes) + ROOM * max(sizes)
    if needed > max_memory:
        warnings.warn(
            f"one sample takes about {needed:,} bytes, more than max_memory={max_memory:,}; "
            "samples are explained one by one",
            RelpropWarning,
            stacklevel=3,
        )
    return max(1, max_memory // needed)


def _in_batches(
    explained: Callable[[Any, Any, slice], Explanation], inputs: Any, target: Any, batch_size: int
) -> Explanation:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInput(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    check_inputs(inputs)
    tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    samples = min(tensor.shape[0] for tensor in tensors)
    parts = []
    for begin in range(0, samples, batch_size):
        chosen = slice(begin, begin + batch_size)
        piece = pytree.tree_map(
            lambda leaf, s=chosen: leaf[s] if isinstance(leaf, Tensor) else leaf, inputs
        )
        share = part_of(target, chosen, samples)
        parts.append(explained(piece, share, chosen))
    return merged(parts, weights_of(target))
