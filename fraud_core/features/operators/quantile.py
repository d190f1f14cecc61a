"""`quantile`: a number below which a share of an entity's values in a window lies, between two neighbours in proportion."""

from fraud_core.features.ask import Ask, Compiled, Operator, clock_of
from fraud_core.features.plan import Column, Held, Node, Op, Slot, SlotKind
from fraud_core.features.source import spell_duration


def _compile(ask: Ask) -> Compiled:
    share = ask.value("at").number("at")
    rank = round(share * 1000)
    if not 0.0 <= share <= 1.0 or abs(share * 1000 - rank) > 1e-9:
        ask.value("at").fail(f"at must be a share from 0 to 1 in steps of 0.001, found {share}.")
    return order_statistic(ask, rank, f"{share:g}-quantile")


def order_statistic(ask: Ask, rank: int, word: str) -> Compiled:
    """The quantile at `rank` thousandths."""
    rule = ask.listed_entity()
    window = ask.duration("window", rule)
    where, of = ask.where(), ask.summed()
    past = ask.past_only(where, 0)
    columns: tuple[Column | None, ...] = (
        Held(rule.name, Slot(SlotKind.ORDER_LOW, window, of, where, rank, past)),
        Held(rule.name, Slot(SlotKind.ORDER_HIGH, window, of, where, rank, past)),
        Held(rule.name, Slot(SlotKind.FILLED, window, of, where)),
        of if past else None,
    )
    words = f"{word} of {of.field}{ask.where_words()} of the {rule.name} in the last {spell_duration(window)}"
    words += ", this event left out" if past else ""
    node = Node(Op.QUANTILE, columns, (1.0 / of.scale, float(rank)), (clock_of(rule), of))
    return Compiled(node, words + "; absent when there was none")


OPERATOR = Operator(
    "quantile",
    1,
    ("entity", "of", "unit", "at", "window", "where", "past"),
    _compile,
    "a quantile of a number over a window",
)
