"""The methods by name, and what each of them answers.

Four kinds of question are told apart (thesis 3.2.4). *Function*: how would the output change with
the input (gradients)? *Signal*: which pattern in the input made the neurons fire (deconvolution and
its relatives)? *Attribution*: how much did each component contribute to the output (LRP, DeepLIFT,
integrated gradients)? *Sampling*: what happens to the output when parts are taken away? Baselines
answer none, and say what a map is worth that does not look at the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

from ..errors import InvalidInput, UnknownName
from ..result import Explanation

QUESTIONS = ("function", "signal", "attribution", "sampling", "baseline")

Explain = Callable[..., Explanation]


@dataclass(frozen=True)
class Method:
    """A way to explain. `cost` is in gradients of the same batch, in words where it depends."""

    name: str
    question: str
    cost: str
    function: Explain

    @property
    def options(self) -> dict[str, Any]:
        """The keyword options and their defaults."""
        given = signature(self.function).parameters.values()
        return {p.name: p.default for p in given if p.kind is Parameter.KEYWORD_ONLY}

    def __call__(self, model: Any, inputs: Any, target: Any = None, **options: Any) -> Explanation:
        """Explain. Raises InvalidInput for an option that the method does not have."""
        unknown = [name for name in options if name not in self.options]
        if unknown:
            known = ", ".join(self.options) or "none"
            raise InvalidInput(
                f"method {self.name!r} has no option {unknown[0]!r}; its options are: {known}"
            )
        return self.function(model, inputs, target, **options)


METHODS: dict[str, Method] = {}


def register(name: str, *, question: str, cost: str) -> Callable[[Explain], Explain]:
    """Make `function(model, inputs, target=None, *, ...)` a method with this name."""
    if question not in QUESTIONS:
        raise UnknownName("question", question, QUESTIONS)

    def add(function: Explain) -> Explain:
        METHODS[name] = Method(name, question, cost, function)
        return function

    return add


def find(name: str) -> Method:
    """The method with this name. Raises UnknownName, with the list."""
    try:
        return METHODS[name]
    except (KeyError, TypeError):
        raise UnknownName("method", name, ("lrp", *METHODS)) from None
