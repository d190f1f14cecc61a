"""`frauds`: reported frauds of an entity, known by now, among its events in a window."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Column, Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    window = ask.duration("window", rule)
    lag = ask.lag(rule, window)
    columns: tuple[Column, ...] = (held(rule, SlotKind.FRAUDS, window + lag),)
    words = f"events of the {rule.name} in the last {spell_duration(window)}"
    if lag:
        columns += (held(rule, SlotKind.FRAUDS, lag),)
        words += f" before the last {spell_duration(lag)}"
    return Compiled(
        Node(Op.DIFFERENCE, columns, (1.0, 1.0), (clock_of(rule),)),
        words + " that are known to be fraud by now",
    )


OPERATOR = Operator(
    "frauds", 1, ("entity", "window", "lag"), _compile, "known frauds of an entity in a window"
)
