"""`night`: whether the event lies between two hours of the day, UTC, across midnight when they are reversed."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    start = ask.value("from").integer("from", 0, 23) if ask.has("from") else 22
    end = ask.value("to").integer("to", 0, 23) if ask.has("to") else 6
    if start == end:
        ask.source.fail(f"expected a night from one hour to another, found {start} for both.")
    node = Node(Op.NIGHT, (ask.event_time,), (float(start), float(end)), (ask.event_time,))
    return Compiled(node, f"1 from {start}:00 until {end}:00 UTC, else 0")


OPERATOR = Operator("night", 1, ("from", "to"), _compile, "whether the event is at night")
