"""Doubts: checks whose answers lie on a device, asked for once, when all work has been sent there.

Looking at a number makes the host wait for the device. While a `doubting` block is active on a
thread, a check of data on a device is taken to hold and noted; what was noted is read in one go at
the end. Where something did not hold, the work is thrown away and done again with every check made
at once, which then says what is wrong. On a processor checks are made at once anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

_active = threading.local()


@dataclass
class Doubts:
    """Conditions that were taken to hold, and notices for the user that depend on data."""

    conditions: list[Tensor] = field(default_factory=list)
    flags: list[Tensor] = field(default_factory=list)
    notices: list[Callable[[], None]] = field(default_factory=list)

    def joined(self) -> Tensor | None:
        """All answers side by side, the conditions first, still on the device."""
        answers = [answer.reshape(()) for answer in (*self.conditions, *self.flags)]
        return torch.stack(answers) if answers else None

    def settle(self, joined: Tensor | None) -> bool:
        """Wait for the device: whether everything held; if so, the notices that apply are given."""
        answers = [] if joined is None else joined.tolist()
        if not all(answers[: len(self.conditions)]):
            return False
        for flag, notice in zip(answers[len(self.conditions) :], self.notices, strict=True):
            if flag:
                notice()
        return True


@contextmanager
def doubting() -> Iterator[Doubts]:
    """Put off the checks of this thread whose data lie on a device."""
    _active.doubts = doubts = Doubts()
    try:
        yield doubts
    finally:
        _active.doubts = None


def holds(condition: Tensor) -> bool:
    """Whether a condition (one boolean) holds; taken to hold, and noted, while that is put off."""
    doubts = getattr(_active, "doubts", None)
    if doubts is None or not is_away(condition):
        return bool(condition)
    doubts.conditions.append(condition)
    return True


def notify(flag: Tensor, notice: Callable[[], None]) -> None:
    """Give a notice if the flag (one boolean) is set, now or when the doubts are settled."""
    doubts = getattr(_active, "doubts", None)
    if doubts is None or not is_away(flag):
        if bool(flag):
            notice()
        return
    doubts.flags.append(flag)
    doubts.notices.append(notice)


def is_away(tensor: Tensor) -> bool:
    """Whether looking at the data of a tensor makes the host wait."""
    return tensor.device.type != "cpu"
