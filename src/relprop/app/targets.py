"""The `--target` of the command line: indices and names of classes, several of them, or "all"."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from relprop.errors import InvalidTarget

MOST = 100  # maps an image, beyond which "all" is refused


def class_indices(text: str, names: Sequence[str], *, count: int) -> list[int]:
    """The classes that `text` names: an index, a name, several with commas, or "all".

    `names` are the model's classes, where they are known, `count` its outputs. Raises
    InvalidTarget for what is none of them, with those that are close.
    """
    if text.strip().casefold() == "all":
        if count > MOST:
            raise InvalidTarget(
                f"--target all: {count} classes are too many maps; name up to {MOST}, as in "
                f"--target 0,{count - 1}"
            )
        return list(range(count))
    folded = [name.casefold() for name in names]
    if text.strip().casefold() in folded:  # a name may have a comma
        return [folded.index(text.strip().casefold())]
    found = [_index(part.strip(), names, folded, count) for part in text.split(",")]
    return list(dict.fromkeys(found))


def class_name(index: int, names: Sequence[str]) -> str:
    """The class's name, or what stands for it where names are not known."""
    return names[index] if index < len(names) else f"class {index}"


def _index(part: str, names: Sequence[str], folded: Sequence[str], count: int) -> int:
    if part.casefold() in folded:  # before numbers: the digits' names are digits
        return folded.index(part.casefold())
    if part.isdecimal() and int(part) < count:
        return int(part)
    allowed = f"an index from 0 to {count - 1}"
    if names:
        close = difflib.get_close_matches(part.casefold(), folded, n=5, cutoff=0.5)
        near = [names[folded.index(name)] for name in dict.fromkeys(close)]
        allowed += f" or a name ({'close: ' + ', '.join(near) if near else 'none is close'})"
    raise InvalidTarget(f"--target: there is no class {part!r}; give {allowed}, or all")
