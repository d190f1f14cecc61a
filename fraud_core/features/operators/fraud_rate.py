"""`fraud_rate`: share of an entity's events in a window that are known to be fraud by now."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Column, Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    lag = ask.lag(rule, window)
    empty = ask.value("empty").number("empty") if ask.has("empty") else 0.0
    columns: tuple[Column, ...] = (
        held(rule, SlotKind.FRAUDS, window + lag),
        held(rule, SlotKind.COUNT, window + lag),
    )
    words = f"share of known frauds among the events of the {rule.name} in the last {spell_duration(window)}"
    if lag:
        columns += (held(rule, SlotKind.FRAUDS, lag), held(rule, SlotKind.COUNT, lag))
        words += f" before the last {spell_duration(lag)}"
    node = Node(Op.SHARE, columns, (empty,), (clock_of(rule),))
    return Compiled(node, words + f"; {empty:g} without events")


OPERATOR = Operator(
    "fraud_rate", 1, ("entity", "window", "lag", "empty"), _compile, "share of known frauds in a window"
)
