"""Embedding of token ids: the token's relevance is the sum over its embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ..recording import Operation, Value
from ..rules import Rule
from .family import Context, Family, OneInput, Refused, Share, Sharer, only
from .registry import register_operation


@dataclass(frozen=True, eq=False)
class Embedding(OneInput):
    """R_token = sum over the embedding axis."""

    kind: str = field(default="embedding", kw_only=True)
    default: ClassVar[str] = "sum over the embedding"

    def prepare(self, rule: Rule | None, context: Context) -> Sharer:
        def share(relevance: Sequence[torch.Tensor | None]) -> Share:
            received = only(relevance)
            return Share([received.sum(-1)])

        return share


@register_operation(torch.ops.aten.embedding.default)
def embedding(operation: Operation) -> Family:
    """weight[tokens]."""
    weight, tokens = operation.args[:2]
    if isinstance(weight, Value) or not isinstance(tokens, Value):
        return Refused("an embedding table that depends on the input has no rule")
    return Embedding(tokens)
