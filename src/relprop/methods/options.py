"""What the options of methods may be, said in one way."""

from __future__ import annotations

import math

from ..errors import InvalidInput


def whole_number(method: str, name: str, given: object, *, least: int = 1) -> int:
    """The option, if it is an integer of at least `least`; InvalidInput if not."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise InvalidInput(
            f"method {method!r}: {name} must be a whole number of at least {least}, got {given!r}"
        )
    return given


def amount(method: str, name: str, given: object) -> float:
    """The option, if it is a finite number that is not negative; InvalidInput if not."""
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not 0 <= given < math.inf:  # type: ignore[operator]
        raise InvalidInput(
            f"method {method!r}: {name} must be a finite number of at least 0, got {given!r}"
        )
    return float(given)  # type: ignore[arg-type]


def flag(method: str, name: str, given: object) -> bool:
    """The option, if it is True or False; InvalidInput if not."""
    if not isinstance(given, bool):
        raise InvalidInput(f"method {method!r}: {name} must be True or False, got {given!r}")
    return given
