"""`differs`: whether two fields of the event hold different values."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    left, right = ask.hashed("left"), ask.hashed("right")
    return Compiled(
        Node(Op.DIFFERS, (left, right)), f"1 when {left.field} is not {right.field}; absent without both"
    )


OPERATOR = Operator("differs", 1, ("left", "right"), _compile, "whether two fields differ")
