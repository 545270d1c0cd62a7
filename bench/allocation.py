"""Bytes that a call allocates, as torch's allocator counts them: the same on every run and machine.

The kernels' own working memory is not among them; a process's resident memory (`bench/memory.py`)
has that too, but trembles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.autograd.profiler import profile

from .measure import Step


@dataclass(frozen=True)
class Allocated:
    """Bytes of tensors at the peak of a call, and what is left of them after it."""

    peak: int
    left: int


def allocated(step: Step) -> Allocated:
    """Run once and count; the call's result is dropped first."""
    with profile(profile_memory=True) as profiled:
        step()
    events = sorted(_events(profiled.kineto_results.experimental_event_tree()), key=lambda e: e[0])
    held = list(accumulate((size for _, size in events), initial=0))
    return Allocated(max(held), held[-1])


def _events(tree: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Time and size of every allocation; what is freed has a negative size."""
    for event in tree:
        if event.tag == torch._C._profiler._EventType.Allocation:
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from _events(event.children)
