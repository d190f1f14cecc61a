"""`days_since`: whole days from a date of the event to the event."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Input, InputKind, Node, Op


def _compile(ask: Ask) -> Compiled:
    since = Input(InputKind.DATE, ask.contract_field(ask.value("date"), ("date",)).name)
    return Compiled(Node(Op.DAYS, (ask.event_time, since)), f"days since {since.field}")


OPERATOR = Operator("days_since", 1, ("date",), _compile, "whole days since a date of the event")
