"""`distance`: metres between two places of the event, such as home and shop."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    columns = (*ask.place("from"), *ask.place("to"))
    words = f"metres between ({columns[0].field}, {columns[1].field}) and ({columns[2].field}, {columns[3].field})"
    return Compiled(Node(Op.DISTANCE, columns, guards=columns[:1]), words)


OPERATOR = Operator("distance", 1, ("from", "to"), _compile, "metres between two places of the event")
