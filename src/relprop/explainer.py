"""An explainer: what is kept between explanations of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .errors import InvalidInput
from .propagation.coverage import Coverage, coverage_of
from .propagation.doubts import doubting, is_away
from .propagation.graphs import Graphs
from .propagation.lrp import Options, check_names, explain_run, plan_recording
from .propagation.presets import Preset
from .propagation.record import record as record_run
from .propagation.routes import Routes
from .propagation.rules import Rule
from .propagation.workspace import Workspace
from .result import Explanation


class Explainer:
    """Explains one model again and again, keeping what does not depend on the inputs.

    For inputs of the same shapes the plan is kept and only the values that it reads; for all of
    them the parts of weights (w+, w-), as long as the weights stay what they are. Safe to call
    from several threads, and when parameters change.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        rules: str | Rule | Preset | None = None,
        *,
        flat_until: str | None = None,
        layers: Sequence[str] = (),
        class_axis: int = -1,
        cuda_graph: bool = False,
    ) -> None:
        if cuda_graph and not torch.cuda.is_available():
            raise InvalidInput(
                "cuda_graph=True needs a CUDA device, and there is none; leave it out"
            )
        self.model = model
        self._options = Options(rules, flat_until, layer_names(layers), class_axis)
        self._routes = Routes()
        self._graphs = Graphs(self._run) if cuda_graph else None

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """As `relprop.explain`, with this explainer's options."""
        check_names(network_of(self.model), self._options)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            self._routes.workspace() as workspace,
        ):
            if not _on_device(inputs):
                self._refuse_graph()
                return self._run(inputs, target, workspace)
            found = self._unwatched(inputs, target, workspace)
            if found is None:  # then every check is made at once, and says what is wrong
                self._routes.forget()
                found = self._run(inputs, target, workspace)
            return found

    def _run(self, inputs: Any, target: Any, workspace: Workspace) -> Explanation:
        recording, route = self._routes.run(network_of(self.model), inputs, self._options)
        return explain_run(
            recording, route, target, self._options, release=True, workspace=workspace
        )

    def _unwatched(self, inputs: Any, target: Any, workspace: Workspace) -> Explanation | None:
        """The explanation, the device being waited for once, at the end; None if a check failed."""
        if self._graphs is not None:
            return self._graphs(inputs, target)
        with doubting() as doubts:
            found = self._run(inputs, target, workspace)
            joined = doubts.joined()
        return found if doubts.settle(joined) else None

    def _refuse_graph(self) -> None:
        if self._graphs is not None:
            raise InvalidInput(
                "cuda_graph=True needs the model and its inputs on a CUDA device: move them there, "
                "or leave it out"
            )

    @property
    def weights_nbytes(self) -> int:
        """The memory of the parts of weights that are kept between calls."""
        return self._routes.weights.nbytes

    @property
    def workspace_nbytes(self) -> int:
        """The memory to work in that is kept between calls."""
        return self._routes.workspace_nbytes

    def coverage(self, inputs: Any) -> Coverage:
        """The plan as a table: module, operation, family and rule, "refused" with its reason."""
        recording = record_run(network_of(self.model), inputs, layers=())
        return coverage_of(recording, *plan_recording(recording, self._options, refuse=False))


def _on_device(inputs: Any) -> bool:
    """Whether looking at the inputs makes the host wait."""
    leaves = pytree.tree_leaves(inputs)
    return any(isinstance(leaf, Tensor) and is_away(leaf) for leaf in leaves)


def layer_names(layers: Sequence[str]) -> tuple[str, ...]:
    """The names of modules as given, one or several. Raises InvalidInput for anything else."""
    if isinstance(layers, str):
        return (layers,)
    if not isinstance(layers, (tuple, list)) or not all(isinstance(name, str) for name in layers):
        raise InvalidInput(f"layers must be a list of module names, got {layers!r}")
    return tuple(layers)


def is_estimator(model: Any) -> bool:
    """Whether this is a model in the manner of scikit-learn, without importing it."""
    if isinstance(model, (torch.nn.Module, type)):
        return False
    return hasattr(model, "get_params") and hasattr(model, "fit")


def network_of(model: Any) -> Callable[..., Any]:
    """What is recorded of a model: a compiled module as it was before."""
    if is_estimator(model):
        raise InvalidInput(
            f"{type(model).__name__} is no network: relprop.explain(model, X) explains models of "
            "scikit-learn"
        )
    if not callable(model):
        raise InvalidInput(
            f"{type(model).__name__} cannot be explained: pass a torch module, a callable from "
            "tensors to a tensor, or a fitted scikit-learn model"
        )
    return getattr(model, "_orig_mod", model)
