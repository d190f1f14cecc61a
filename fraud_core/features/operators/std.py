"""`std`: sample standard deviation of a number over an entity's events in a window."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Column, Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    of = ask.summed()
    where = ask.where()
    past = ask.past_only(where, 0)
    columns: list[Column | None] = [
        held(rule, kind, window, of, where)
        for kind in (SlotKind.SUM, SlotKind.FILLED, SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW)
    ]
    columns.append(of if past else None)
    node = Node(Op.STD, tuple(columns), (1.0 / of.scale,), (clock_of(rule), of))
    words = f"standard deviation of {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    words += ", this event left out" if past else ""
    return Compiled(node, words + "; absent below two values")


OPERATOR = Operator(
    "std",
    1,
    ("entity", "of", "unit", "window", "where", "past"),
    _compile,
    "standard deviation over a window",
)
