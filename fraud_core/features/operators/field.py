"""`field`: a number or a flag of the event, as it is."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Input, InputKind, Node, Op


def _compile(ask: Ask) -> Compiled:
    declared = ask.contract_field(ask.value("of"), ("integer", "number", "boolean"))
    if declared.type == "boolean":
        source = Input(InputKind.FLAG, declared.name)
    elif declared.type == "number" and not ask.has("unit"):
        source = Input(InputKind.NUMBER, declared.name, 1e6)
    else:
        source = ask.number()
    node = Node(Op.VALUE, (source,), (1.0 / source.scale,))
    return Compiled(node, f"{declared.name} of the event")


OPERATOR = Operator("field", 1, ("of", "unit"), _compile, "a number or flag of the event, as it is")
