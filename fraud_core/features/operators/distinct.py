"""`distinct`: different values of a field over an entity's events in a window; exact, by 32-bit hash."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    where, of = ask.where(), ask.hash_only()
    node = Node(Op.VALUE, (held(rule, SlotKind.DISTINCT, window, of, where),), (1.0,), (clock_of(rule), of))
    words = f"different {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    return Compiled(node, words)


OPERATOR = Operator(
    "distinct", 1, ("entity", "of", "window", "where"), _compile, "different values over a window"
)
