"""`category`: a field with a limited set of values, as a stable whole number."""

from fraud_core.features.ask import Ask, Compiled, Operator
from fraud_core.features.plan import Input, InputKind, Node, Op


def _compile(ask: Ask) -> Compiled:
    declared = ask.contract_field(ask.value("of"), ("string",))
    choice = ask.value("as").text("as") if ask.has("as") else "enum" if declared.enum else "buckets"
    if choice == "enum":
        if not declared.enum:
            ask.value("of").fail(
                f"{declared.name!r} lists no values in the contract; say `as: buckets` or `as: digits`."
            )
        source = Input(InputKind.ENUM, declared.name, categories=tuple(str(item) for item in declared.enum))
        how = "its place in the contract's list of values"
    elif choice == "digits":
        source = Input(InputKind.DIGITS, declared.name)
        how = "the number that its digits spell"
    elif choice == "buckets":
        buckets = ask.value("buckets").integer("buckets", 2, 1_000_000) if ask.has("buckets") else 1024
        source = Input(InputKind.BUCKET, declared.name, float(buckets))
        how = f"a hash in {buckets} buckets"
    else:
        ask.value("as").fail(f"expected enum, digits or buckets, found {choice!r}.")
    return Compiled(Node(Op.VALUE, (source,), (1.0,)), f"{declared.name} as {how}")


OPERATOR = Operator(
    "category", 1, ("of", "as", "buckets"), _compile, "a field with few values, as a stable code"
)
