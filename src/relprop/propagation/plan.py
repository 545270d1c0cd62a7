"""Plan: match every recorded operation to a family and a rule, before any relevance is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import InvalidRule, UnsupportedOperation
from .facts import Fact, common_source, gather_facts
from .fold import fold_padding, fold_scale
from .keep import Zeros, values_read
from .operations.elementwise import Activation, LeftOut
from .operations.family import Family, Refused
from .operations.follow import Follow
from .operations.linear import Linear, Term
from .operations.movement import Move
from .operations.normalisation import Standardisation
from .operations.product import ATTENTION, Product, Quotient, Softmax
from .operations.registry import HANDLERS
from .operations.weights import Weights
from .positions import Positions, flat_zone
from .presets import Preset, Site
from .recording import Operation, Recording, Value, is_continuous
from .rules import AlphaBeta, Box, Constant, Epsilon, Flat, Rule, ZPlus


@dataclass(frozen=True, eq=False)
class Step:
    """One move of relevance: from the outputs of `operation` to the sources of `family`, by
    `rule`; `folded` operations are part of it.
    """

    operation: Operation
    family: Family
    rule: Rule | None
    site: Site
    folded: tuple[Operation, ...]
    output: Value  # where z is read
    silent: bool  # whether outputs that are not positive have no relevance
    reads: frozenset[int]  # the values whose data the step looks at

    @cached_property
    def module(self) -> str:
        """The module that it ran in: the layer's, where something is folded into it."""
        layer = next((op for op in self.folded if op.module), self.operation)
        return layer.module or self.operation.module

    @cached_property
    def names(self) -> str:
        """The ATen names, folded operations first."""
        return " + ".join(op.name for op in (*self.folded, self.operation))

    @cached_property
    def rule_name(self) -> str:
        return str(self.rule) if self.rule is not None else self.family.default


@dataclass(frozen=True, eq=False)
class Plan:
    """The steps in the order of the walk (output first), and what the explanation says about
    them.
    """

    steps: tuple[Step, ...]
    families: tuple[Family | None, ...]  # of every recorded operation, reached or not
    nonnegative: frozenset[int]
    stands_for: dict[int, int]  # values without relevance of their own: whose relevance is theirs
    refusals: tuple[tuple[Operation, str], ...] = ()

    @property
    def assumes_positive_output(self) -> bool:
        """Whether a rule at the top makes sense for positive outputs only (thesis 5.4.1)."""
        return any(s.site.last and isinstance(s.rule, (AlphaBeta, ZPlus)) for s in self.steps)


def make_plan(
    recording: Recording,
    preset: Preset | Callable[[bool], Preset],
    *,
    flat_until: str | None = None,
    bias: str = "absorb",
    left_out: Operation | None = None,
    weights: Weights | None = None,
    refuse: bool = True,
) -> Plan:
    """Choose family and rule for every operation that relevance reaches.

    `preset` may be a function of whether the network is residual; `left_out` is the softmax that
    ends the model, through which relevance passes; `weights` keeps the parts of weights. Raises
    UnsupportedOperation (by name and module path), InvalidRule, UnknownName (`flat_until`). With
    `refuse=False` refusals are listed in the plan.
    """
    families = [_family(operation) for operation in recording.operations]
    if left_out is not None:
        families[left_out.index] = LeftOut(next(left_out.inputs()))
    planner = _Planner(recording, families, flat_until)
    chosen = (
        preset
        if isinstance(preset, Preset)
        else preset(is_residual(recording.operations, families))
    )
    planner.preset = chosen.with_bias(bias) if bias != "absorb" else chosen
    planner.default = Epsilon(bias=bias)
    planner.weights = weights
    plan = planner.plan()
    if refuse and plan.refusals:
        raise UnsupportedOperation(_refusal_message(plan.refusals))
    return plan


def is_residual(operations: Sequence[Operation], families: Sequence[Family | None]) -> bool:
    """Residual networks, and networks with SiLU, GELU and the like or with layer norm."""
    smooth = {
        "aten.gelu.default",
        "aten.silu.default",
        "aten.mish.default",
        "aten.hardswish.default",
    }
    for operation, family in zip(operations, families, strict=True):
        if isinstance(family, Linear) and family.kind == "merge" and len(family.terms) > 1:
            return True
        if isinstance(family, Standardisation) or operation.name in smooth:
            return True
    return False


def _family(operation: Operation) -> Family | None:
    handler = HANDLERS.get(operation.target)
    if handler is None:
        return None
    try:
        return handler(operation)
    except UnsupportedOperation as error:
        return Refused(str(error))


@dataclass
class _Planner:
    recording: Recording
    families: list[Family | None]
    flat_until: str | None
    preset: Preset = field(default_factory=lambda: Preset([]))
    default: Rule = field(default_factory=Epsilon)
    weights: Weights | None = None

    def __post_init__(self) -> None:
        self.facts: list[Fact] = gather_facts(self.recording, self.families)
        self.producers = self.recording.producers()
        self.consumers = self.recording.consumers()
        self.positions = Positions(self.recording, self.families)
        self.zone = flat_zone(self.recording, self.flat_until)
        self.zeros = Zeros(self.recording, self.consumers)
        self.stands_for: dict[int, int] = {}
        self.refusals: list[tuple[Operation, str]] = []

    def plan(self) -> Plan:
        """Walk the operations backwards from the start and plan those that relevance reaches."""
        steps = []
        for operation in reversed(self.recording.operations):
            if self.positions.reaches(operation) and is_continuous(operation.output.dtype):
                step = self._step(operation)
                if step is not None:
                    steps.append(step)
        nonnegative = frozenset(i for i, fact in enumerate(self.facts) if fact.low >= 0)
        families = list(self.families)
        for step in steps:
            families[step.operation.index] = step.family
        return Plan(
            tuple(steps), tuple(families), nonnegative, self.stands_for, tuple(self.refusals)
        )

    def _step(self, operation: Operation) -> Step | None:
        family = self.families[operation.index]
        if family is None:
            self.refusals.append((operation, "it has no handler"))
            return None
        if isinstance(family, Product):
            family = self._gated(family, operation)
        if isinstance(family, Refused):
            self.refusals.append((operation, family.reason))
            return None
        site = self.positions.site(operation, family)
        rule = self._rule(operation, family, site)
        family, folded, layer = self._fold(operation, family, rule)
        if folded:
            site = self.positions.site(layer, family, operation.output.index)
            rule = self._rule(layer, family, site)
        self._check(operation, family, rule, site)
        self.positions.pass_on(operation, family)
        output, silent = self.zeros.read_from(operation, family, rule)
        self.zeros.pass_on(operation, family, rule)
        if isinstance(family, Linear) and self.weights is not None:
            terms = [Term(term.value, term.map.keeping(self.weights)) for term in family.terms]
            family = replace(family, terms=terms)
        reads = frozenset(values_read(operation, family, rule, output, silent=silent))
        return Step(operation, family, rule, site, folded, output, silent, reads)

    def _gated(self, family: Product, operation: Operation) -> Family:
        """A gate passes everything to the other factor; an activation written out is an
        activation.
        """
        source = common_source(family.first, family.second, self.facts)
        if source is not None and self._value(source).shape == operation.output.shape:
            return Activation(self._value(source))
        gates = [self._is_gate(v) for v in (family.first, family.second)]
        if gates[0] != gates[1]:
            return Quotient(family.second if gates[0] else family.first)
        if family.is_matrix and any(self._is_softmax(v) for v in (family.first, family.second)):
            return Refused(ATTENTION)
        return family

    def _is_gate(self, value: Value) -> bool:
        if self.facts[value.index].gates:
            return True
        softmax = self._softmax_of(value)
        if softmax is None:
            return False
        family = self.families[softmax.index]
        return family is not None and isinstance(self._rule(softmax, family, None), Constant)

    def _is_softmax(self, value: Value) -> bool:
        return self._softmax_of(value) is not None

    def _softmax_of(self, value: Value) -> Operation | None:
        """The softmax whose elements this value only moves or scales, if there is one."""
        operation = self.producers.get(value.index)
        while operation is not None:
            family = self.families[operation.index]
            if isinstance(family, Softmax):
                return operation
            inputs = list(operation.inputs())
            if not isinstance(family, (Move, Follow)) or len(inputs) != 1:
                return None
            operation = self.producers.get(inputs[0].index)
        return None

    def _rule(self, operation: Operation, family: Family, site: Site | None) -> Rule | None:
        site = site or self.positions.site(operation, family)
        if operation.index in self.zone and family.flattens:
            return Flat()
        rule = self.preset.rule_for(site)
        if rule is not None and family.takes(rule):
            return rule
        return self.default if isinstance(family, Linear) else None

    def _fold(
        self, operation: Operation, family: Family, rule: Rule | None
    ) -> tuple[Family, tuple[Operation, ...], Operation]:
        """Batch norm and separate biases join the layer that alone feeds them, and padding its
        layer.
        """
        folded: tuple[Operation, ...] = ()
        layer = operation
        if isinstance(family, Linear):
            family, folded = fold_scale(family, rule, self._alone, self.families)
            layer = folded[0] if folded else operation
            for op in folded:
                self.stands_for[op.output.index] = operation.output.index
        if isinstance(family, Linear) and family.kind == "convolution":
            family, padding = fold_padding(family, self._alone)
            folded = (*padding, *folded)
        return family, folded, layer

    def _alone(self, value: Value) -> Operation | None:
        """The producer of a value that one operation alone reads."""
        if (
            len(self.consumers.get(value.index, ())) != 1
            or value.index == self.recording.output_value.index
        ):
            return None
        return self.producers.get(value.index)

    def _check(self, operation: Operation, family: Family, rule: Rule | None, site: Site) -> None:
        where = f"{operation.name} in {operation.module or 'the model'}"
        if rule is not None and rule.first_layer_only and not site.first:
            raise InvalidRule(
                f"{rule} is a rule for the first layer only, and was given to {where}; use it in a "
                "Preset with where(first=True)"
            )
        if isinstance(rule, Box) and not self.positions.reads_input(family):
            raise InvalidRule(
                f"{rule} bounds the model's input, but {where} reads values that the model has "
                "already scaled or shifted; move the preprocessing out of the model"
            )

    def _value(self, index: int) -> Value:
        maker = self.producers.get(index)
        values = self.recording.input_values if maker is None else maker.outputs
        return next(v for v in values if v is not None and v.index == index)


def _refusal_message(refusals: Sequence[tuple[Operation, str]]) -> str:
    lines = list(
        dict.fromkeys(
            f"{op.name} in module {op.module or '(the model)'!r}: {why}" for op, why in refusals
        )
    )
    shown = "\n  ".join(lines[:10])
    more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
    return (
        f"no rule for {len(lines)} operation(s) of this model:\n  {shown}{more}\n"
        "Register a handler with "
        "relprop.propagation.register_operation(torch.ops.aten.<name>)(handler), "
        "or see Explainer(model).coverage(inputs) for the whole plan."
    )
