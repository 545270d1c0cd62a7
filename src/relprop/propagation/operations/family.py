"""What a family of operations offers to the plan and to the walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ...errors import UnsupportedOperation
from ..layout import Layout
from ..recording import Operation, Recording, Value
from ..workspace import Workspace

if TYPE_CHECKING:
    from ..rules import Rule


@dataclass
class Share:
    """How one operation shared the relevance of its outputs.

    `messages`: one tensor per source, shaped like it (None: nothing). `bias`, `stabiliser`, `lost`:
    `[N]`, what did not go to an input, each from its own formula.
    """

    messages: list[Tensor | None]
    bias: Tensor | None = None
    stabiliser: Tensor | None = None
    lost: Tensor | None = None


Sharer = Callable[[list[Tensor | None]], Share]  # may empty the list when it has read it


@dataclass(eq=False)
class Context:
    """The data that a step reads: values in the dtype of relevance, sums per sample.

    `output` is where z is read: the result of the operation, or of the ReLU that alone reads it;
    then outputs that are not positive have no relevance (`silent`). Where `workspace.reuses`, the
    relevance that a step is given is its own to overwrite, and what it sends on too.
    """

    recording: Recording
    operation: Operation
    layouts: Sequence[Layout]
    dtype: torch.dtype
    device: torch.device
    workspace: Workspace
    output: Value
    nonnegative: frozenset[int] = frozenset()
    silent: bool = False
    once: bool = False  # whether a single target's relevance comes this way

    def tensor(self, value: Value) -> Tensor:
        """The recorded value, in float32 at least."""
        return self.constant(self.recording.tensor(value))

    def constant(self, tensor: Tensor) -> Tensor:
        """A constant of the model in the dtype of relevance."""
        if tensor.dtype == self.dtype or not tensor.is_floating_point():
            return tensor
        return tensor.to(self.dtype)

    def sum(self, tensor: Tensor, value: Value) -> Tensor:
        """`[N]`: a tensor shaped like `value` (or broadcastable to it) summed per sample."""
        whole = tensor if tensor.shape == value.shape else tensor.expand(value.shape)
        return self.layouts[value.index].sum(whole)

    def inner(self, one: Tensor, other: Tensor, value: Value) -> Tensor:
        """`[N]`: the sum per sample of a product of two tensors shaped like `value`."""
        return self.layouts[value.index].inner(one, other)

    def channel_sums(self, tensor: Tensor, value: Value) -> Tensor | None:
        """`[N, C]`: sums over positions, where the samples lead and channels follow."""
        if not (self.layouts[value.index].leading and value.ndim > 1):
            return None
        if value.shape[0] != self.layouts[value.index].samples:
            return None
        return tensor.sum(tuple(range(2, value.ndim))) if value.ndim > 2 else tensor

    def dot(self, tensor: Tensor, sums: Tensor | None, constant: Tensor, value: Value) -> Tensor:
        """`[N]`: the sum per sample of a tensor shaped like `value` times a constant; `sums` are
        its channel sums.
        """
        per_channel = value.ndim > 1 and constant.shape in (
            (value.shape[1], *[1] * (value.ndim - 2)),
            (1, value.shape[1], *[1] * (value.ndim - 2)),
        )
        if sums is not None and per_channel:
            return sums @ constant.flatten()
        return self.sum(tensor * constant, value)

    def rms(self, tensor: Tensor, value: Value) -> Tensor:
        """The root mean square over the layer, per sample, broadcastable to `value`."""
        layout = self.layouts[value.index]
        return layout.spread(layout.rms(tensor), value.shape)

    def is_nonnegative(self, value: Value) -> bool:
        """Known on the plan, not read from the data."""
        return value.index in self.nonnegative


@dataclass(frozen=True, eq=False)
class Family:
    """Base of the families: `sources` are the inputs that receive relevance.

    `kind` is what presets ask for; `accepts` are the rules that a preset can choose here, `default`
    says in the coverage table what happens otherwise; `flattens` says whether Flat applies up to
    the layer that `flat_until` names.
    """

    kind: str = field(default="", kw_only=True)
    accepts: ClassVar[tuple[str, ...]] = ()
    default: ClassVar[str] = ""
    flattens: ClassVar[bool] = False

    def takes(self, rule: Rule) -> bool:
        """Whether a preset's rule can be used here; others leave the family's own."""
        return any(parent.__name__ in self.accepts for parent in type(rule).__mro__)

    @property
    def sources(self) -> Sequence[Value]:
        """The values that messages go to."""
        raise NotImplementedError

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        """Compute what does not depend on relevance; the result shares it, as often as wanted."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class OneInput(Family):
    """Base of the families with a single source."""

    value: Value

    @property
    def sources(self) -> Sequence[Value]:
        return [self.value]


def only(relevance: Sequence[Tensor | None]) -> Tensor:
    """The relevance of the output, or of the one output among several that has any."""
    return next(tensor for tensor in relevance if tensor is not None)


@dataclass(frozen=True, eq=False)
class Refused(Family):
    """An operation that is known and has no rule yet."""

    reason: str

    @property
    def sources(self) -> Sequence[Value]:
        raise UnsupportedOperation(self.reason)
