"""`first_seen`: whether the entity meets this value for the first time, as far as its history reaches."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.listed_entity()
    of = ask.hash_only()
    node = Node(Op.FIRST, (held(rule, SlotKind.SEEN, of=of),), guards=(clock_of(rule), of))
    words = (
        f"1 when {of.field} is new to the {rule.name}: not among its last {rule.cap} events "
        f"of {spell_duration(rule.horizon_ms)}"
    )
    return Compiled(node, words)


OPERATOR = Operator("first_seen", 1, ("entity", "of"), _compile, "whether a value is new to the entity")
