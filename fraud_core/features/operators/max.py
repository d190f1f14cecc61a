"""`max`: largest value of a number over an entity's events in a window, this one included."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    where, of = ask.where(), ask.summed()
    node = Node(
        Op.VALUE, (held(rule, SlotKind.MAX, window, of, where),), (1.0 / of.scale,), (clock_of(rule), of)
    )
    words = f"largest {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    return Compiled(node, words)


OPERATOR = Operator(
    "max", 1, ("entity", "of", "unit", "window", "where"), _compile, "largest value over a window"
)
