"""`present`: whether the event has a value in a field."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Input, InputKind, Node, Op


def _compile(ask: Ask) -> Compiled:
    name = ask.contract_field(ask.value("of"), ("string", "integer", "number", "boolean")).name
    return Compiled(Node(Op.PRESENT, (Input(InputKind.HASH, name),)), f"1 when {name} is given, else 0")


OPERATOR = Operator("present", 1, ("of",), _compile, "whether a field is given")
