"""A plan as the arrays that the offline folds run on; the columns are named in fold.py, fold_rings.py, fold_labels.py."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fraud_core.features.inputs import Ints
from fraud_core.features.layout import label_columns, reach_ms
from fraud_core.features.plan import HASH_KINDS, ORDER_KINDS, EntityPlan, Filter, Input, SlotKind
from fraud_core.features.rings import measure_places, rings, sketches


@dataclass(frozen=True, eq=False)
class ListTables:
    """For fold.fold."""

    windows: Ints
    slots: Ints
    orders: Ints


@dataclass(frozen=True, eq=False)
class RingTables:
    """For fold_rings.fold_rings."""

    rings: Ints
    measures: Ints
    sketches: Ints
    slots: Ints
    clean_ring: int


def list_tables(plan: EntityPlan) -> ListTables:
    """Tables of a plan whose layout is a list."""
    orders = list(
        dict.fromkeys(
            (plan.windows.index(slot.window_ms), _place(slot.input, plan.numbers), _filter(plan, slot.where))
            for slot in plan.slots
            if slot.kind in ORDER_KINDS
        )
    )
    slots = np.full((len(plan.slots), 8), -1, np.int64)
    for place, slot in enumerate(plan.slots):
        window = -1
        if slot.kind != SlotKind.CLEAN and slot.window_ms and reach_ms(slot, plan):
            window = plan.windows.index(slot.window_ms)
        kept = plan.numbers
        if slot.kind == SlotKind.CARRIED:
            kept = plan.carried
        elif slot.kind in HASH_KINDS:
            kept = plan.hashes
        number, where = _place(slot.input, kept), _filter(plan, slot.where)
        other = -1
        if slot.kind in ORDER_KINDS:
            other = orders.index((window, number, where))
        elif slot.kind == SlotKind.SQUARES_HIGH:
            other = plan.slots.index(replace(slot, kind=SlotKind.SQUARES_LOW))
        slots[place] = slot.kind, window, number, where, slot.window_ms, other, slot.rank, slot.past
    return ListTables(np.array(plan.windows, np.int64), slots, _table(orders, 3))


def ring_tables(plan: EntityPlan) -> RingTables:
    """Tables of a plan whose layout is rings of buckets."""
    laid = rings(plan)
    places = measure_places(plan)
    return RingTables(
        _table(
            [(ring.width_ms, ring.buckets, ring.first, ring.first + len(ring.measures)) for ring in laid], 4
        ),
        _table(
            [
                (slot.kind, number, _place(slot.input, plan.numbers), _filter(plan, slot.where))
                for number, ring in enumerate(laid)
                for slot in ring.measures
            ],
            4,
        ),
        _table(
            [
                (sketch.ring, sketch.first, _place(sketch.input, plan.cells), _filter(plan, sketch.where))
                for sketch in sketches(plan)
            ],
            4,
        ),
        _table(
            [
                (slot.kind, places.get(slot, -1), _place(slot.input, plan.carried), slot.window_ms)
                for slot in plan.slots
            ],
            4,
        ),
        next((number for number, ring in enumerate(laid) if ring.clean), -1),
    )


def label_table(plan: EntityPlan) -> Ints:
    """For fold_labels: the label columns of the header, and which slot each answers."""
    places = {slot: place for place, slot in enumerate(plan.slots)}
    return _table([(slot.kind, slot.window_ms, places.get(slot, -1)) for slot in label_columns(plan)], 3)


def _place(source: Input | None, kept: tuple[Input, ...]) -> int:
    return kept.index(source) if source in kept else -1


def _filter(plan: EntityPlan, where: Filter | None) -> int:
    return -1 if where is None else plan.filters.index(where)


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Ints:
    return np.array(rows, np.int64).reshape(len(rows), width)
