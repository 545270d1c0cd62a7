"""A progress bar, where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import RelpropError


@contextmanager
def bar(
    total: int, *, shown: bool, begin: int = 0, unit: str = "pass"
) -> Iterator[Callable[[int], object]]:
    """A function that counts forward passes, or what `unit` says, up to `total`.

    Raises RelpropError where a bar is asked for and tqdm is missing.
    """
    if not shown:
        yield lambda count: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise RelpropError("progress needs tqdm: pip install 'relprop[cli]'") from error
    with tqdm(total=total, initial=begin, unit=unit) as shown_bar:
        yield shown_bar.update
