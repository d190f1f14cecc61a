"""`distance_from_last`: metres from the place of the entity's previous event."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    here = ask.place("at")
    columns = tuple(held(rule, SlotKind.CARRIED, of=part) for part in here) + here
    node = Node(Op.DISTANCE, columns, guards=(clock_of(rule), *here[:1]))
    words = (
        f"metres from the place of the previous event of the {rule.name}; absent without both places, and when there "
        f"was none within {spell_duration(rule.horizon_ms)}"
    )
    return Compiled(node, words)


OPERATOR = Operator(
    "distance_from_last", 2, ("entity", "at"), _compile, "metres from the previous event's place"
)
