"""`median`: the middle value of a number over an entity's events in a window, or the mean of the middle two."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.operators.quantile import order_statistic


def _compile(ask: Ask) -> Compiled:
    return order_statistic(ask, 500, "median")


OPERATOR = Operator(
    "median",
    1,
    ("entity", "of", "unit", "window", "where", "past"),
    _compile,
    "the middle value of a number over a window",
)
