"""`differs`: whether two fields of the event hold different values."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Node, Op


def _compile(ask: Ask) -> Compiled:
    left, right = ask.hashed("left"), ask.hashed("right")
    types = [ask.contract_field(ask.value(side)).type for side in ("left", "right")]
    if left == right or types[0] != types[1]:
        found = (
            f"{left.field!r} twice"
            if left == right
            else f"types {types[0]} and {types[1]}, which always differ"
        )
        ask.value("right").fail(f"expected two fields of one type to compare, found {found}.")
    return Compiled(
        Node(Op.DIFFERS, (left, right)), f"1 when {left.field} is not {right.field}; absent without both"
    )


OPERATOR = Operator("differs", 1, ("left", "right"), _compile, "whether two fields differ")
