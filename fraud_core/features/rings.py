"""Rings of buckets: a window as totals per bucket of time, so that cost and bytes do not grow with the traffic.

A window of W is cut into buckets of W / N (rounded up to whole ms), aligned to 1970. At clock t it holds the bucket of
t and the ones before it, as many as fit into W: it never looks further back than W, and at least as far as W less two
buckets (one, where N divides W). Everything in it counts whole; nothing else counts.
"""

from dataclasses import dataclass

from fraud_core.features.layout import header_bytes
from fraud_core.features.lists import list_bytes
from fraud_core.features.plan import (
    NUMBER_KINDS,
    SKETCH_CELLS,
    SKETCH_LEVELS,
    SKETCH_PARTS,
    EntityPlan,
    EntityRule,
    Filter,
    Input,
    Layout,
    Slot,
    SlotKind,
)

SWEEP_EVERY = 128
"""Buckets after which cells of a sketch that left its window are cleared: their stamps count modulo STAMPS."""
STAMPS = 255
MAX_BUCKETS = 60
assert (MAX_BUCKETS - 1) + (SWEEP_EVERY - 1) + MAX_BUCKETS < STAMPS, "a stamp could pass for a newer one"

_FORMATS = {
    SlotKind.COUNT: "I5",
    SlotKind.FILLED: "I5",
    SlotKind.SUM: "i6",
    SlotKind.SQUARES_HIGH: "I6",
    SlotKind.SQUARES_LOW: "I5",
    SlotKind.MAX: "I6",
    SlotKind.SKETCH: "I6",
}
_RING_KINDS = frozenset({SlotKind.COUNT, SlotKind.SKETCH}) | (
    NUMBER_KINDS - {SlotKind.ORDER_LOW, SlotKind.ORDER_HIGH}
)
MEASURE_BYTES = {kind: int(format_[1:]) for kind, format_ in _FORMATS.items()}
TOTAL_FORMAT = "i8"


@dataclass(frozen=True)
class Sketch:
    """Different values over one window: its cells hold the bucket that met them last, `first` is the measure of part 0."""

    ring: int
    first: int
    input: Input
    where: Filter | None


@dataclass(frozen=True)
class Ring:
    """The buckets of one window: `measures` are the integers that each holds, the first numbered `first` of them all."""

    window_ms: int
    width_ms: int
    buckets: int
    first: int
    measures: tuple[Slot, ...]
    clean: bool
    """Whether CLEAN slots read it: events per bucket over the whole history."""

    @property
    def format(self) -> str:
        """Of one bucket."""
        return "".join(_FORMATS[slot.kind] for slot in self.measures)

    @property
    def bucket_bytes(self) -> int:
        return sum(MEASURE_BYTES[slot.kind] for slot in self.measures)

    def part_offset(self, measure: int) -> int:
        """Where in a bucket a measure (numbered among them all) stands."""
        return sum(MEASURE_BYTES[slot.kind] for slot in self.measures[: measure - self.first])


def width_ms(rule: EntityRule, window_ms: int) -> int:
    """Length of a bucket of a window."""
    return -(-window_ms // rule.buckets)


def rings(plan: EntityPlan) -> tuple[Ring, ...]:
    """The rings of an entity, shortest window first; none where its layout is a list."""
    found: list[Ring] = []
    if plan.rule.layout != Layout.BUCKETS:
        return ()
    counted = {slot for slot in plan.slots if slot.kind in _RING_KINDS}
    for window in sorted({slot.window_ms for slot in counted}):
        mine = [slot for slot in plan.slots if slot in counted and slot.window_ms == window]
        found.append(_ring(plan, found, window, _measures(mine), clean=False))
    if any(slot.kind == SlotKind.CLEAN for slot in plan.slots):
        horizon = plan.rule.horizon_ms
        found.append(_ring(plan, found, horizon, (Slot(SlotKind.COUNT, horizon),), clean=True))
    return tuple(found)


def _ring(
    plan: EntityPlan, before: list[Ring], window: int, measures: tuple[Slot, ...], *, clean: bool
) -> Ring:
    width = width_ms(plan.rule, window)
    first = sum(len(ring.measures) for ring in before)
    return Ring(window, width, window // width, first, measures, clean)


def _measures(slots: list[Slot]) -> tuple[Slot, ...]:
    """In the order that the folds rely on: high limbs are followed by their low ones, a sketch's parts by each other."""
    found: dict[Slot, None] = {}
    for slot in slots:
        if slot.kind in (SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW):
            for kind in (SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW):
                found.setdefault(Slot(kind, slot.window_ms, slot.input, slot.where))
        elif slot.kind == SlotKind.SKETCH:
            for part in range(SKETCH_PARTS):
                found.setdefault(Slot(slot.kind, slot.window_ms, slot.input, slot.where, part=part))
        else:
            found.setdefault(slot)
    return tuple(found)


def sketches(plan: EntityPlan) -> tuple[Sketch, ...]:
    """The sketches of an entity, in the order of their rings."""
    return tuple(
        Sketch(number, ring.first + place, slot.input, slot.where)
        for number, ring in enumerate(rings(plan))
        for place, slot in enumerate(ring.measures)
        if slot.kind == SlotKind.SKETCH and slot.part == 0 and slot.input
    )


def measure_places(plan: EntityPlan) -> dict[Slot, int]:
    """Slot to the number of the measure that answers it."""
    return {
        slot: ring.first + place
        for ring in rings(plan)
        if not ring.clean
        for place, slot in enumerate(ring.measures)
    }


SKETCH_BYTES = SKETCH_CELLS * SKETCH_LEVELS


def totals_format(plan: EntityPlan) -> str:
    """What follows the header: per ring its totals over the window, then its open bucket."""
    return "".join(TOTAL_FORMAT * len(ring.measures) + ring.format for ring in rings(plan))


def totals_bytes(plan: EntityPlan) -> int:
    """Size of `totals_format`."""
    return sum(8 * len(ring.measures) + ring.bucket_bytes for ring in rings(plan))


def header_and_totals_bytes(plan: EntityPlan) -> int:
    """What a state function reads of rings."""
    return header_bytes(plan) + totals_bytes(plan)


def ring_offsets(plan: EntityPlan) -> tuple[list[int], int]:
    """Where each ring begins, and the cells of the sketches behind the last one."""
    at = header_bytes(plan) + totals_bytes(plan)
    offsets = []
    for ring in rings(plan):
        offsets.append(at)
        at += ring.buckets * ring.bucket_bytes
    return offsets, at


def state_bytes(plan: EntityPlan) -> int:
    """Most bytes that one entity's events can take, in either layout."""
    if plan.rule.layout == Layout.LIST:
        return list_bytes(plan)
    return ring_offsets(plan)[1] + SKETCH_BYTES * len(sketches(plan))
