"""`since_same`: seconds since the entity's previous event with the same value of a field."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind


def _compile(ask: Ask) -> Compiled:
    rule = ask.listed_entity()
    of = ask.hash_only()
    node = Node(Op.ELAPSED, (clock_of(rule), held(rule, SlotKind.SEEN, of=of)), guards=(clock_of(rule), of))
    return Compiled(node, f"seconds since the {rule.name} last met this {of.field}; absent when it is new")


OPERATOR = Operator("since_same", 1, ("entity", "of"), _compile, "seconds since the same value came up")
