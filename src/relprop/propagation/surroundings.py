"""What surrounds a run: hooks that name the modules, and a model left as it was found."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .checks import parts
from .recorder import Recorder
from .recording import is_continuous

HOOK_LOCK = threading.Lock()
_run_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()


def module_names(model: Any) -> dict[nn.Module, str]:
    """The path of each module of a model, as in `named_modules()`; a scripted one has none."""
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        return {}  # a scripted module runs without the hooks of its parts
    named = {module: name for name, module in model.named_modules() if name}
    return {m: n for m, n in named.items() if not isinstance(m, torch.jit.ScriptModule)}


@contextmanager
def naming(
    names: dict[nn.Module, str], recorder: Recorder, layers: tuple[str, ...] | None
) -> Iterator[None]:
    """Forward hooks that tell which module runs; they act on this thread only and are taken off."""
    owner = threading.get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == owner:
            recorder.modules.append(names[module])

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != owner:
            return
        name = recorder.modules.pop()
        if recorder.suspended or (layers is not None and name not in layers):
            return
        found = [
            recorder.probe(leaf) for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)
        ]
        values = [value for value in found if value is not None and is_continuous(value.dtype)]
        if values:
            recorder.runs.setdefault(name, []).append(values[-1])

    with HOOK_LOCK:
        handles = [
            handle
            for module in names
            for handle in (
                module.register_forward_pre_hook(enter, prepend=True),
                module.register_forward_hook(leave),
            )
        ]
    try:
        yield
    finally:
        with HOOK_LOCK:
            for handle in handles:
                handle.remove()


@contextmanager
def unchanged(model: Any, recorder: Recorder) -> Iterator[None]:
    """Buffers, attributes and random state are afterwards what they were before.

    One run of a model at a time, since another would see and put back what this one writes.
    """
    modules = [] if not isinstance(model, nn.Module) else parts(model)
    modules = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    with _lock_of(model):
        yield from _unchanged(modules, recorder)


def _unchanged(modules: list[nn.Module], recorder: Recorder) -> Iterator[None]:
    attributes = [dict(module.__dict__) for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    random_state = torch.get_rng_state()
    try:
        yield
    finally:
        recorder.restore()
        torch.set_rng_state(random_state)
        for module, before, entries in zip(modules, attributes, buffers, strict=True):
            _put_back(module.__dict__, before)
            _put_back(module._buffers, entries)


def _lock_of(model: Any) -> AbstractContextManager[Any]:
    """What lets one thread at a time run a model."""
    if not isinstance(model, nn.Module):
        return nullcontext()
    with HOOK_LOCK:
        return _run_locks.setdefault(model, threading.RLock())


def _put_back(present: dict[str, Any], before: dict[str, Any]) -> None:
    if list(present) == list(before) and all(map(is_, present.values(), before.values())):
        return  # the usual case: the same entries in the same order
    for key in [key for key in present if key not in before]:
        del present[key]
    for key, item in before.items():
        if present.get(key, present) is not item:
            present[key] = item
