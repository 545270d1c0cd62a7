"""What a recording is made of: values, operations, and the whole run of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Value:
    """A tensor of the run that depends on the explained input; its data stand in
    `Recording.values`.
    """

    index: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Operation:
    """One recorded call: dependent tensors in `args` and `kwargs` are `Value`s, all others
    constants.

    `outputs` has one entry per tensor that the call returned; None where it carries no relevance
    (integers, masks). `module` is the path of the module it ran in, "" for the model itself.
    """

    index: int
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value | None, ...]
    module: str

    @property
    def name(self) -> str:
        """The ATen overload (`aten.addmm.default`) or the path of the function kept whole."""
        if isinstance(self.target, torch._ops.OpOverload):
            return str(self.target)
        return f"torch.{getattr(self.target, '__name__', self.target)}"

    @property
    def output(self) -> Value:
        """The first output that carries relevance."""
        return next(value for value in self.outputs if value is not None)

    def inputs(self) -> Iterator[Value]:
        """The dependent inputs, in the order of the arguments, repeated where given twice."""
        return (leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Value))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument given by position or by name."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)


@dataclass(eq=False)
class Recording:
    """One run of a model: every operation whose result depends on the inputs, and their values.

    `inputs` and `output` index `values`; `input_values` has an entry for each tensor among the
    inputs (None where nothing read it). `module_outputs` maps a module path to the values that its
    runs returned.
    """

    operations: list[Operation]
    values: list[Tensor | None]
    input_values: list[Value | None]
    output_value: Value
    module_outputs: dict[str, list[Value]]
    structure: Any  # rebuilds the structure of the inputs from a flat list
    input_tensors: list[Tensor]
    notes: tuple[str, ...] = ()
    preprocessing: Any = None
    module_names: tuple[str, ...] = ()

    @property
    def output(self) -> Tensor:
        """What the model said, before a softmax or sigmoid that ends it."""
        from .route import find_ending

        return find_ending(self).output(self)

    def explain(self, target: Any = None, *, rules: Any = None, layers: Any = ()) -> Any:
        """An `Explanation` of this run; target, rules and layers as in `relprop.explain`."""
        from .lrp import Options, explain_run, find_route

        names = (layers,) if isinstance(layers, str) else tuple(layers)
        options = Options(rules, layers=names)
        with torch.inference_mode(False), torch.no_grad():
            return explain_run(self, find_route(self, options), target, options)

    @property
    def batch(self) -> int:
        """N, the number of samples."""
        return self.output_value.shape[0]

    def tensor(self, value: Value) -> Tensor:
        """The data of a value; an error where the walk has already freed it."""
        tensor = self.values[value.index]
        assert tensor is not None, f"value {value.index} was freed before its last reader"
        return tensor

    def forget(self, indices: Iterable[int]) -> None:
        """Free the data of values that nobody will read again."""
        for index in indices:
            self.values[index] = None

    def producers(self) -> dict[int, Operation]:
        """The operation that made each value, by value index."""
        return {v.index: op for op in self.operations for v in op.outputs if v is not None}

    def ancestors(self) -> set[int]:
        """The values that the output depends on, by index."""
        found = {self.output_value.index}
        for operation in reversed(self.operations):
            if any(value is not None and value.index in found for value in operation.outputs):
                found.update(value.index for value in operation.inputs())
        return found

    def consumers(self) -> dict[int, list[Operation]]:
        """The operations that read each value, by value index."""
        readers: dict[int, list[Operation]] = {}
        for operation in self.operations:
            for index in {value.index for value in operation.inputs()}:
                readers.setdefault(index, []).append(operation)
        return readers


def leaves(tree: Any) -> list[Any]:
    """The leaves of nested tuples, lists and dicts."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Any, found: list[Any]) -> None:
    if not isinstance(tree, (tuple, list, dict)):
        found.append(tree)
        return
    for item in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(item, (tuple, list, dict)):
            _collect(item, found)
        else:
            found.append(item)


def replace_leaves(tree: Any, function: Callable[[Any], Any]) -> Any:
    """The same nesting with `function` applied to every leaf."""
    if isinstance(tree, (tuple, list)):
        items = [replace_leaves(item, function) for item in tree]
        return items if isinstance(tree, list) else tuple(items)
    if isinstance(tree, dict):
        return {key: replace_leaves(item, function) for key, item in tree.items()}
    return function(tree)


def is_continuous(dtype: torch.dtype) -> bool:
    """Whether relevance can live on values of this dtype."""
    return dtype.is_floating_point or dtype.is_complex
