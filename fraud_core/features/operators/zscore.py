"""`zscore`: how many standard deviations this event's number lies above the entity's past ones."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Column, Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    of = ask.summed()
    columns: list[Column] = [
        held(rule, kind, window, of)
        for kind in (SlotKind.SUM, SlotKind.FILLED, SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW)
    ]
    node = Node(Op.ZSCORE, (*columns, of), (1.0,), (clock_of(rule), of))
    words = (
        f"{of.field} of this event less the mean of the {rule.name}'s earlier ones in the last {spell_duration(window)}, "
        "in standard deviations (of at least one unit); absent below two earlier values"
    )
    return Compiled(node, words)


OPERATOR = Operator(
    "zscore", 1, ("entity", "of", "unit", "window"), _compile, "a number against the entity's own past"
)
