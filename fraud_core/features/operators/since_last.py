"""`since_last`: seconds since the entity's previous event, by its clock: never negative."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    node = Node(Op.ELAPSED, (clock_of(rule), held(rule, SlotKind.PREVIOUS)), guards=(clock_of(rule),))
    words = (
        f"seconds since the previous event of the {rule.name}; absent when there was none within "
        f"{spell_duration(rule.horizon_ms)}"
    )
    return Compiled(node, words)


OPERATOR = Operator("since_last", 2, ("entity",), _compile, "seconds since the entity's previous event")
