"""`ratio`: one feature over another; `empty` (default 0) when there is nothing to compare with."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    top_name, top = ask.feature("of")
    bottom_name, bottom = ask.feature("over")
    empty = ask.value("empty").number("empty") if ask.has("empty") else 0.0
    node = Node(Op.RATIO, (), (empty,), nodes=(top, bottom))
    return Compiled(node, f"{top_name} over {bottom_name}; {empty:g} when the latter is zero or absent")


OPERATOR = Operator("ratio", 1, ("of", "over", "empty"), _compile, "one feature over another")
