"""`hour`: hour of the day of the event, UTC."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    return Compiled(
        Node(Op.HOUR, (ask.event_time,), guards=(ask.event_time,)), "hour of the day, UTC, 0 to 23"
    )


OPERATOR = Operator("hour", 1, (), _compile, "hour of the day, UTC")
