"""`sum`: a number summed over an entity's events in a window, this one included."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    lag = ask.lag(rule, window)
    where, of = ask.where(), ask.summed()
    columns = [held(rule, SlotKind.SUM, window + lag, of, where)]
    words = f"sum of {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    if lag:
        columns.append(held(rule, SlotKind.SUM, lag, of, where))
        words += f" before the last {spell_duration(lag)}"
    op = Op.DIFFERENCE if lag else Op.VALUE
    return Compiled(Node(op, tuple(columns), (1.0 / of.scale,), (clock_of(rule), of)), words)


OPERATOR = Operator(
    "sum", 1, ("entity", "of", "unit", "window", "where", "lag"), _compile, "a number summed over a window"
)
