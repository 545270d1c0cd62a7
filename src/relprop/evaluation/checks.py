"""Numbers that measures are asked for."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidInput


def whole_number(value: Any, name: str) -> int:
    """The value, an integer of 1 or more. Raises InvalidInput, with the name, for others."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} is {value!r}; it must be an integer, 1 or more")
    return value


def seed_number(value: Any) -> int:
    """The value, a seed of 64 bits. Raises InvalidInput for others."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise InvalidInput(f"seed is {value!r}; it must be an integer of 64 bits")
    return value
