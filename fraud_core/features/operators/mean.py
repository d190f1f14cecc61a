"""`mean`: average of a number over an entity's events in a window: one division of two exact totals."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Column, Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    lag = ask.lag(rule, window)
    where, of = ask.where(), ask.summed()
    past = ask.past_only(where, lag)
    columns: list[Column | None] = [
        held(rule, SlotKind.SUM, window + lag, of, where),
        held(rule, SlotKind.FILLED, window + lag, of, where),
        held(rule, SlotKind.SUM, lag, of, where) if lag else None,
        held(rule, SlotKind.FILLED, lag, of, where) if lag else None,
        of if past else None,
    ]
    words = f"mean of {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    words += f" before the last {spell_duration(lag)}" if lag else ", this event left out" if past else ""
    node = Node(Op.MEAN, tuple(columns), (1.0 / of.scale,), (clock_of(rule), of))
    return Compiled(node, words + "; absent when there was none")


OPERATOR = Operator(
    "mean",
    1,
    ("entity", "of", "unit", "window", "where", "lag", "past"),
    _compile,
    "average of a number over a window",
)
