"""`since_fraud`: seconds since an entity's newest (or, in a window, oldest) event that is known to be fraud by now."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of, held
from fraud_core.features.plan import Node, Op, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    rule = ask.entity()
    which = ask.value("which").text("which") if ask.has("which") else "newest"
    if which == "newest":
        if ask.has("window"):
            ask.value("window").fail("the newest fraud has no window; remove it, or say `which: oldest`.")
        slot = held(rule, SlotKind.FRAUD_NEWEST)
        words = f"seconds since the newest known fraud of the {rule.name}"
    elif which == "oldest":
        window = ask.duration("window", rule)
        slot = held(rule, SlotKind.FRAUD_OLDEST, window)
        words = (
            f"seconds since the oldest known fraud of the {rule.name} in the last {spell_duration(window)}"
        )
    else:
        ask.value("which").fail(f"expected newest or oldest, found {which!r}.")
    node = Node(Op.ELAPSED, (clock_of(rule), slot), guards=(clock_of(rule),))
    return Compiled(node, words + "; absent without one")


OPERATOR = Operator(
    "since_fraud", 1, ("entity", "which", "window"), _compile, "seconds since a known fraud of the entity"
)
