"""`speed`: km/h needed to come from the place of the entity's previous event; a lapse counts as one second at least."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Column, Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    here = ask.place("at")
    was = tuple(held(rule, SlotKind.CARRIED, of=part) for part in here)
    columns: tuple[Column, ...] = (*was, *here, clock_of(rule), held(rule, SlotKind.PREVIOUS))
    node = Node(Op.SPEED, columns, guards=(clock_of(rule), *here[:1]))
    words = (
        f"km/h from the place of the previous event of the {rule.name}; absent without both places, and when there "
        f"was none within {spell_duration(rule.horizon_ms)}"
    )
    return Compiled(node, words)


OPERATOR = Operator(
    "speed", 2, ("entity", "at"), _compile, "speed since the previous event: impossible travel"
)
