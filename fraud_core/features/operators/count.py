"""`count`: events of an entity in a window, this one included."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    lag = ask.lag(rule, window)
    where = ask.where()
    columns = [held(rule, SlotKind.COUNT, window + lag, where=where)]
    words = f"events{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    if lag:
        columns.append(held(rule, SlotKind.COUNT, lag, where=where))
        words += f" before the last {spell_duration(lag)}"
    op = Op.DIFFERENCE if lag else Op.VALUE
    return Compiled(Node(op, tuple(columns), (1.0,), (clock_of(rule),)), words)


OPERATOR = Operator(
    "count",
    1,
    ("entity", "window", "where", "lag"),
    _compile,
    "events of an entity in a window, this one included",
)
