"""`clean_since_fraud`: events after an entity's newest known fraud, old enough that a report would have come."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    age = ask.duration("older_than", rule)
    node = Node(Op.VALUE, (held(rule, SlotKind.CLEAN, age),), (1.0,), (clock_of(rule),))
    words = (
        f"events of the {rule.name} after its newest known fraud that are older than {spell_duration(age)} "
        "and still unreported; absent without a known fraud"
    )
    return Compiled(node, words)


OPERATOR = Operator(
    "clean_since_fraud",
    1,
    ("entity", "older_than"),
    _compile,
    "unreported events since the newest known fraud",
)
