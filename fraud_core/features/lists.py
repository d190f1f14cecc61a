"""Lists of events: an entity's newest events one by one, and what each window holds of them, kept up from event to event.

An event costs what it adds and what leaves, however many events lie in between. A value is the header of layout.py,
then per window the number of its events and its totals, then the number of values of each order statistic; then the
events themselves, newest first; then the values of the order statistics, each lot in ascending order.
"""

from dataclasses import dataclass

from fraud_core.features.layout import header_bytes, record_bytes
from fraud_core.features.plan import NUMBER_KINDS, ORDER_KINDS, EntityPlan, Slot, SlotKind

COUNT_FORMAT, TOTAL_FORMAT, ORDERED_FORMAT = "I2", "d", "i6"
"""Of a number of events (a list's cap fits), a total (a double holds these integers, and costs least to unpack), and a
value that an order statistic looks at."""
COUNT_BYTES, TOTAL_BYTES, ORDERED_BYTES = 2, 8, 6
_SQUARES = (SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW)


@dataclass(frozen=True)
class Window:
    """One window: it holds the newest events of the list, and totals of them: slots without `past` and `rank`."""

    window_ms: int
    totals: tuple[Slot, ...]


def windows(plan: EntityPlan) -> tuple[Window, ...]:
    """The windows, shortest first. The last one is the horizon: its number of events is the length of the list."""
    lengths = {slot.window_ms for slot in plan.slots if _in_window(slot)}
    return tuple(
        Window(length, tuple(dict.fromkeys(_totals(plan, length))))
        for length in sorted({*lengths, plan.rule.horizon_ms})
    )


def orders(plan: EntityPlan) -> tuple[Slot, ...]:
    """Which values are kept in ascending order: those of `input` in a window, of the events that pass `where`."""
    return tuple(dict.fromkeys(order_of(slot) for slot in plan.slots if slot.kind in ORDER_KINDS))


def order_of(slot: Slot) -> Slot:
    """The values that an order statistic looks at, whatever its rank."""
    return Slot(SlotKind.ORDER_LOW, slot.window_ms, slot.input, slot.where)


def totals_format(plan: EntityPlan) -> str:
    """What follows the header: numbers of events per window, totals, numbers of ordered values."""
    laid = windows(plan)
    totals = sum(len(window.totals) for window in laid)
    return COUNT_FORMAT * len(laid) + TOTAL_FORMAT * totals + COUNT_FORMAT * len(orders(plan))


def start_bytes(plan: EntityPlan) -> int:
    """Size of the header and what follows it: where the events begin."""
    laid = windows(plan)
    totals = sum(len(window.totals) for window in laid)
    return header_bytes(plan) + COUNT_BYTES * (len(laid) + len(orders(plan))) + TOTAL_BYTES * totals


def list_bytes(plan: EntityPlan) -> int:
    """Most bytes that a list of events can take."""
    return start_bytes(plan) + plan.rule.cap * (record_bytes(plan) + ORDERED_BYTES * len(orders(plan)))


def _in_window(slot: Slot) -> bool:
    return slot.kind in NUMBER_KINDS | {SlotKind.COUNT, SlotKind.DISTINCT}


def _totals(plan: EntityPlan, window_ms: int) -> list[Slot]:
    """The number of all its events is none: each window has it."""
    found = []
    for slot in plan.slots:
        if slot.window_ms != window_ms or not _in_window(slot) or slot.kind in ORDER_KINDS:
            continue
        if slot.kind in _SQUARES:
            found += [Slot(kind, window_ms, slot.input, slot.where) for kind in _SQUARES]
        elif slot.kind != SlotKind.COUNT or slot.where:
            found.append(Slot(slot.kind, window_ms, slot.input, slot.where))
    return found
