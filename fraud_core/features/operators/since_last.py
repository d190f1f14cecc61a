"""`since_last`: seconds since the entity's previous event, by its clock: never negative."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    node = Node(Op.ELAPSED, (clock_of(rule), held(rule, SlotKind.PREVIOUS)), guards=(clock_of(rule),))
    return Compiled(node, f"seconds since the previous event of the {rule.name}; absent for its first")


OPERATOR = Operator("since_last", 1, ("entity",), _compile, "seconds since the entity's previous event")
