"""`weekday`: day of the week of the event, UTC."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    return Compiled(
        Node(Op.WEEKDAY, (ask.event_time,), guards=(ask.event_time,)), "day of the week, UTC, Monday is 0"
    )


OPERATOR = Operator("weekday", 1, (), _compile, "day of the week, UTC, Monday is 0")
