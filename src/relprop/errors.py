"""What can go wrong: one base class, few kinds; every message says what, where and what to do."""

from collections.abc import Iterable


class RelpropError(Exception):
    """Base of every error that relprop raises on purpose."""


class UnsupportedOperation(RelpropError):
    """The model uses an operation that has no rule."""


class InvalidTarget(RelpropError, ValueError):
    """The target does not name output neurons of this model."""


class InvalidInput(RelpropError, ValueError):
    """The model or its inputs cannot be explained as they are."""


class InvalidRule(RelpropError, ValueError):
    """A rule or preset does not fit where it was asked for, or has a parameter out of range."""


class UnknownName(RelpropError, KeyError):
    """A preset, layer, method, model or colour map that does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(f"unknown {kind} {name!r}; there are: {', '.join(self.known)}")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


class NoRootFound(RelpropError):
    """No root point of the decision function was found among the candidates."""


class StoreMismatch(RelpropError):
    """A store on disk was made with another model, preset, data set or preprocessing."""


class RelpropWarning(UserWarning):
    """The explanation was computed, and something about it deserves a look."""
