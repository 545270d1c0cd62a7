"""From a fitted model to its decision: the one place that looks at what kind of model it is."""

from __future__ import annotations

from typing import Any

from .host_machines import own_machine
from .registry import ESTIMATORS, Handler, handler_of
from .walking import Decided, Options


def decided(model: Any, inputs: Any, options: Options) -> Decided:
    """What a fitted model says about its inputs, and the way back.

    Raises UnsupportedOperation for a model of an unknown class.
    """
    if hasattr(model, "expansions_"):
        return own_machine(model, inputs, options)
    methods = ("predict", "decision_function")
    handler: Handler = handler_of("estimator", model, ESTIMATORS, methods)
    return handler(model, inputs, options)
