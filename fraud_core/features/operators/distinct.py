"""`distinct`: different values of a field over an entity's events in a window: exact by 32-bit hash, or a sketch."""

from dataclasses import replace

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import (
    SKETCH_ERROR,
    SKETCH_PARTS,
    Column,
    EntityRule,
    Filter,
    Held,
    Input,
    InputKind,
    Layout,
    Node,
    Op,
    Slot,
    SlotKind,
)
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    where, of = ask.where(), ask.hash_only()
    words = f"different {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    if rule.layout == Layout.BUCKETS:
        return Compiled(
            _sketched(rule, window, of, where), f"{words}; an estimate, standard error {SKETCH_ERROR:.0%}"
        )
    node = Node(Op.VALUE, (held(rule, SlotKind.DISTINCT, window, of, where),), (1.0,), (clock_of(rule), of))
    return Compiled(node, words)


def _sketched(rule: EntityRule, window: int, of: Input, where: Filter | None) -> Node:
    cell = replace(of, kind=InputKind.CELL)
    parts: tuple[Column, ...] = tuple(
        Held(rule.name, Slot(SlotKind.SKETCH, window, cell, where, part=part)) for part in range(SKETCH_PARTS)
    )
    return Node(Op.ESTIMATE, parts, guards=(clock_of(rule), cell))


OPERATOR = Operator(
    "distinct", 1, ("entity", "of", "window", "where"), _compile, "different values over a window"
)
