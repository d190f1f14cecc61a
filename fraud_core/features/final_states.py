"""The state that a history leaves, as the bytes that the state functions would have written: for the rebuild."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fraud_core.features.calls import entity_key, pack_effects
from fraud_core.features.inputs import Ints
from fraud_core.features.layout import label_columns, life_ms
from fraud_core.features.lists import (
    QUIET_EVENTS,
    SPARE_EVENTS,
    kept_from,
    list_header,
    record_bytes,
    record_parts,
    with_effects,
)
from fraud_core.features.offline import History, Sorted, filter_bits, fold_buckets
from fraud_core.features.plan import NULL, EntityPlan, Layout
from fraud_core.features.rings import (
    MEASURE_BYTES,
    SKETCH_BYTES,
    STAMPS,
    Ring,
    ring_offsets,
    rings,
    sketches,
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
    effects = _effects_by_id(history.effects, plan)
    ends = ordered.starts[1:] - 1
    life = life_ms(plan.rule)
    first = _kept_from(history, plan, ordered)
    lists = _lists(history, plan, ordered, first)
    rings = _rings(history, plan, _some(ordered, np.flatnonzero(first < 0)))
    for e, id in enumerate(ordered.ids):
        is_list = bool(first[e] >= 0)
        value, now = next(lists if is_list else rings), int(ordered.clock[ends[e]])
        life_s = min(life, life - newest_ms + now) // 1000
        if life_s <= 0:
            continue
        key = entity_key(namespace, epoch, plan.rule.name, id)
        labels = b""
        if id in effects:
            labels = pack_effects(_live_effects(effects[id], now, plan.rule.label_cap))
        yield Item(key, with_effects(value, labels) if is_list else value, life_s, True)
        if labels and not is_list:
            yield Item(f"{key}:l", labels, life_s, False)


def _kept_from(history: History, plan: EntityPlan, ordered: Sorted) -> Ints:
    """See lists.kept_from."""
    rule = plan.rule
    found: Ints = kept_from(
        ordered.starts, history.times[ordered.rows], rule.horizon_ms, rule.cap + SPARE_EVENTS,
        QUIET_EVENTS if rule.layout == Layout.BUCKETS else 0,
    )  # fmt: skip
    return found


def _some(ordered: Sorted, wanted: Ints) -> Sorted:
    """Some of the entities alone."""
    sizes = np.diff(ordered.starts)[wanted]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    places = np.repeat(ordered.starts[:-1][wanted] - starts[:-1], sizes) + np.arange(starts[-1])
    return Sorted(ordered.rows[places], starts, [ordered.ids[e] for e in wanted], ordered.clock[places])


def _lists(history: History, plan: EntityPlan, ordered: Sorted, first: Ints) -> Iterator[bytes]:
    """Lists without label effects, of the entities that are kept from an event on (first >= 0)."""
    records = _records(history, plan, ordered)
    for e in np.flatnonzero(first >= 0):
        begin, end, kept = int(ordered.starts[e]), int(ordered.starts[e + 1]), int(first[e])
        clock_ms = int(ordered.clock[kept - 1]) if kept > begin else 0
        yield list_header(kept - begin, clock_ms, 0) + records[kept:end].tobytes()


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
        for row in table:  # of cells alone, for what a state function reads of a ring is whole buckets
            yield row[:cells_at].tobytes() + row[cells_at:].tobytes().rstrip(b"\0")


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
    columns = [history.times[rows], *[history.columns[source][rows] for source in plan.arguments]]
    if plan.filters:
        columns.append(filter_bits(history, plan)[rows])
    at = 0
    for part, values in zip(record_parts(plan), columns, strict=True):
        stored = values if part.plus is None else np.where(values == NULL, 0, values + part.plus)
        table[:, at : at + part.bytes] = _low_bytes(stored, part.bytes)
        at += part.bytes
    return table


def _headers(history: History, plan: EntityPlan, ordered: Sorted) -> Bytes:
    """uint8[entities, header bytes]; what is known of labels is left for the state function to work out."""
    ends = ordered.starts[1:] - 1
    columns = [-np.diff(ordered.starts), ordered.clock[ends]]
    columns += [np.zeros(len(ends), np.int64)] * (len(label_columns(plan)) + plan.has_labels)
    columns += [history.columns[source][ordered.rows[ends]] for source in plan.carried]
    return np.concatenate([_low_bytes(column, 6) for column in columns], axis=1)


def _low_bytes(values: Ints, count: int) -> Bytes:
    return np.ascontiguousarray(values, "<i8").view(np.uint8).reshape(len(values), 8)[:, :count]
