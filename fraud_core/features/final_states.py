"""The state that a history leaves, as the bytes that the state functions would have written: for the rebuild."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fraud_core.features.calls import entity_key, pack_effects
from fraud_core.features.inputs import Ints
from fraud_core.features.layout import (
    Part,
    header_bytes,
    label_columns,
    life_ms,
    record_bytes,
    record_parts,
)
from fraud_core.features.lists import COUNT_BYTES, ORDERED_BYTES, TOTAL_BYTES, orders, windows
from fraud_core.features.offline import History, Sorted, filter_bits, fold_buckets, fold_list
from fraud_core.features.plan import NULL, EntityPlan, Layout, Slot, SlotKind
from fraud_core.features.rings import (
    MEASURE_BYTES,
    SKETCH_BYTES,
    STAMPS,
    Ring,
    ring_offsets,
    rings,
    sketches,
    totals_bytes,
)

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

ENTITIES_PER_PASS = 512
"""Entities whose rings are folded at a time: some 10 MB."""


class Item(NamedTuple):
    """A key to write."""

    key: str
    value: bytes
    life_s: int
    """What is left of its time to live."""
    is_state: bool
    """Else label effects."""


def entity_states(
    history: History, plan: EntityPlan, namespace: str, epoch: int, newest_ms: int
) -> Iterator[Item]:
    """State and label effects of every entity of one kind that would not have expired by `newest_ms`."""
    ordered = history.sort(plan)
    if not len(ordered.rows):
        return
    packed = _rings if plan.rule.layout == Layout.BUCKETS else _lists
    effects = _effects_by_id(history.effects, plan)
    ends = ordered.starts[1:] - 1
    life = life_ms(plan.rule)
    for e, value in enumerate(packed(history, plan, ordered)):
        id, now = ordered.ids[e], int(ordered.clock[ends[e]])
        life_s = min(life, life - newest_ms + now) // 1000
        if life_s <= 0:
            continue
        key = entity_key(namespace, epoch, plan.rule.name, id)
        yield Item(key, value, life_s, True)
        if id in effects:
            kept = _live_effects(effects[id], now, plan.rule.label_cap)
            if kept.height:
                yield Item(f"{key}:l", pack_effects(kept), life_s, False)


def _lists(history: History, plan: EntityPlan, ordered: Sorted) -> Iterator[bytes]:
    records = _records(history, plan, ordered)
    headers = np.concatenate([_headers(history, plan, ordered), _totals(history, plan, ordered)], axis=1)
    numbers = {source: history.columns[source][ordered.rows] for source in plan.numbers}
    bits = filter_bits(history, plan)[ordered.rows] if plan.filters else None
    for e in range(len(ordered.ids)):
        begin, end = int(ordered.starts[e]), int(ordered.starts[e + 1])
        first = max(begin, end - plan.rule.cap)
        clock = ordered.clock[first:end]
        values = []
        for order in orders(plan):
            assert order.input is not None
            inside = first + int(np.searchsorted(clock, clock[-1] - order.window_ms, side="right"))
            mine = numbers[order.input][inside:end]
            counts = mine != NULL
            if order.where and bits is not None:
                counts &= (bits[inside:end] >> plan.filters.index(order.where) & 1).astype(bool)
            values.append(_low_bytes(np.sort(mine[counts]), ORDERED_BYTES).tobytes())
        first += int(np.searchsorted(clock, clock[-1] - plan.rule.horizon_ms, side="right"))
        yield headers[e].tobytes() + records[first:end][::-1].tobytes() + b"".join(values)


def _totals(history: History, plan: EntityPlan, ordered: Sorted) -> Bytes:
    """uint8[entities, bytes]: what each window holds after the last event, which is what the fold answers to that event."""
    laid = windows(plan)
    events = [Slot(SlotKind.COUNT, window.window_ms) for window in laid]
    filled = [replace(order, kind=SlotKind.FILLED) for order in orders(plan)]
    totals = [slot for window in laid for slot in window.totals]
    slots = tuple(dict.fromkeys((*plan.slots, *events, *filled, *totals)))
    answers = np.full((len(slots), len(ordered.ids)), NULL, np.int64)
    owner = np.repeat(np.arange(len(ordered.ids)), np.diff(ordered.starts))
    no_label = np.full(len(ordered.rows), NULL, np.int64)
    fold_list(history, replace(plan, slots=slots), ordered, no_label, owner, answers)

    def of(wanted: list[Slot]) -> list[Ints]:
        return [answers[slots.index(slot)] for slot in wanted]

    numbers = [
        np.ascontiguousarray(total, "<f8").view(np.uint8).reshape(-1, TOTAL_BYTES) for total in of(totals)
    ]
    counts = [[_low_bytes(count, COUNT_BYTES) for count in of(wanted)] for wanted in (events, filled)]
    return np.concatenate([*counts[0], *numbers, *counts[1]], axis=1)


def _rings(history: History, plan: EntityPlan, ordered: Sorted) -> Iterator[bytes]:
    """Entities are folded some at a time; what a sketch's cells no longer need stays out."""
    laid, met = rings(plan), sketches(plan)
    headers = _headers(history, plan, ordered)
    most = max((ring.buckets for ring in laid), default=1)
    measures = sum(len(ring.measures) for ring in laid)
    offsets, cells_at = ring_offsets(plan)
    newest = np.full(
        len(ordered.rows), NULL, np.int64
    )  # only CLEAN slots would want it, and nobody reads slots here
    for begin in range(0, len(ordered.ids), ENTITIES_PER_PASS):
        some = slice(begin, min(begin + ENTITIES_PER_PASS, len(ordered.ids)))
        rows = slice(int(ordered.starts[some.start]), int(ordered.starts[some.stop]))
        part = Sorted(
            ordered.rows[rows],
            ordered.starts[some.start : some.stop + 1] - rows.start,
            ordered.ids[some],
            ordered.clock[rows],
        )
        count = len(part.ids)
        totals = np.zeros((count, measures), np.int64)
        buckets = np.zeros((count, measures, most), np.int64)
        cells = np.full((count, len(met), SKETCH_BYTES), -1, np.int64)
        nowhere, unread = np.zeros(len(part.rows), np.int64), np.empty((len(plan.slots), 1), np.int64)
        fold_buckets(history, plan, part, newest[rows], nowhere, unread, (totals, buckets, cells))
        clock = part.clock[part.starts[1:] - 1]
        table = np.zeros((count, cells_at + len(met) * SKETCH_BYTES), np.uint8)
        table[:, : headers.shape[1]] = headers[some]
        at = headers.shape[1]
        for number, ring in enumerate(laid):
            at = _put_ring(table, at, offsets[number], ring, clock, totals, buckets)
        for number, sketch in enumerate(met):
            ring = laid[sketch.ring]
            last = cells[:, number]
            alive = (last >= 0) & (clock[:, None] // ring.width_ms - last < ring.buckets)
            where = cells_at + number * SKETCH_BYTES
            table[:, where : where + SKETCH_BYTES] = np.where(alive, last % STAMPS + 1, 0)
        least = header_bytes(plan) + totals_bytes(plan)
        for row in table:
            value = row.tobytes()
            yield value[:least] + value[least:].rstrip(b"\0")


def _put_ring(  # noqa: PLR0917
    table: Bytes, at: int, offset: int, ring: Ring, clock: Ints, totals: Ints, buckets: Ints
) -> int:
    """Write a ring's totals and open buckets at `at`, its closed buckets at `offset`; returns the place after."""
    mine = slice(ring.first, ring.first + len(ring.measures))
    open_at = clock // ring.width_ms % ring.buckets
    for total in totals[:, mine].T:
        table[:, at : at + 8] = _low_bytes(total, 8)
        at += 8
    entities = np.arange(len(clock))
    for measure, slot in zip(range(mine.start, mine.stop), ring.measures, strict=True):
        size = MEASURE_BYTES[slot.kind]
        table[:, at : at + size] = _low_bytes(buckets[entities, measure, open_at], size)
        at += size
        closed = buckets[:, measure].copy()
        closed[entities, open_at] = 0
        inside = offset + ring.part_offset(measure)
        for bucket in range(ring.buckets):
            place = inside + bucket * ring.bucket_bytes
            table[:, place : place + size] = _low_bytes(closed[:, bucket], size)
    return at


def _live_effects(effects: pl.DataFrame, now: int, cap: int) -> pl.DataFrame:
    """What can still count: the newest `cap` in force, and those yet to come."""
    ordered = effects.sort("effect_ms", "event_ms", "event_hash", "rank")
    passed = int((ordered["effect_ms"] <= now).sum())
    return ordered.slice(max(0, passed - cap))


def _effects_by_id(effects: pl.DataFrame, plan: EntityPlan) -> dict[str, pl.DataFrame]:
    mine = effects.filter(pl.col("entity") == plan.rule.name)
    return {str(id): part for (id,), part in mine.group_by("entity_id")}


def _records(history: History, plan: EntityPlan, ordered: Sorted) -> Bytes:
    """uint8[rows, record bytes], in fold order."""
    rows = ordered.rows
    table = np.empty((len(rows), record_bytes(plan)), np.uint8)
    table[:, :6] = _low_bytes(ordered.clock, 6)
    at = 6
    for part in record_parts(plan):
        table[:, at : at + part.bytes] = _low_bytes(_part_values(history, plan, part, rows), part.bytes)
        at += part.bytes
    return table


def _part_values(history: History, plan: EntityPlan, part: Part, rows: Ints) -> Ints:
    if part.name == "bits":
        return filter_bits(history, plan)[rows]
    place = int(part.name[1:])
    if part.name[0] == "x":
        return history.columns[plan.numbers[place]][rows]
    values = history.columns[plan.hashes[place]][rows]
    return np.where(values == NULL, 0, values)


def _headers(history: History, plan: EntityPlan, ordered: Sorted) -> Bytes:
    """uint8[entities, header bytes]; what is known of labels is left for the state function to work out."""
    ends = ordered.starts[1:] - 1
    columns = [np.diff(ordered.starts), ordered.clock[ends]]
    columns += [np.zeros(len(ends), np.int64)] * (len(label_columns(plan)) + plan.has_labels)
    columns += [history.columns[source][ordered.rows[ends]] for source in plan.carried]
    return np.concatenate([_low_bytes(column, 6) for column in columns], axis=1)


def _low_bytes(values: Ints, count: int) -> Bytes:
    return np.ascontiguousarray(values, "<i8").view(np.uint8).reshape(len(values), 8)[:, :count]
