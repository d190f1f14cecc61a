"""What an entity's past leaves for a fold to go on from, so that a day needs no quarter's events.

Of a list that is its newest events as integers, of rings the last event with totals, buckets and cells. Either stands for a
*prefix* of the entity's events in fold order, and the prefix's last event goes along as a row of the lake, the *mark*. Whatever
is folded on must come after the mark: an event whose place is before it would have changed what is kept, so a fold refuses to
go on then (StartRefused) and is made from the events themselves.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from fraud_core.errors import StartRefused
from fraud_core.features.fold import clocks, fold, local_codes
from fraud_core.features.fold_rings import NEVER_MET, fold_rings
from fraud_core.features.inputs import Ints
from fraud_core.features.offline import History, Sorted, filter_bits, fold_effects, unbegun
from fraud_core.features.plan import NULL, SKETCH_CELLS, SKETCH_LEVELS, EntityPlan, Input, Layout
from fraud_core.features.rings import rings, sketches
from fraud_core.features.tables import list_tables, ring_tables

MARK: Final = "_mark"
"""Column of the events (Boolean): whether a row is the mark of its entity."""
OLDER: Final = "_older"
"""Column (Boolean): whether an event is older than its entity's history, and may be part of what a start stands for."""
Bools = np.ndarray[Any, np.dtype[np.bool_]]
_ENTITIES_PER_PASS = 512
_RING_COLUMNS: Final = {"entity": pl.String, "totals": pl.Binary, "buckets": pl.Binary, "ages": pl.Binary}
_OVERTAKEN_MS: Final = 600_000
_GRACE_MS: Final = 86_400_000
"""An entity is forgotten this long after its history ended."""


@dataclass(frozen=True, eq=False)
class Start:
    """The pasts of some entities of one kind."""

    remembered: pl.DataFrame
    """Per event kept: entity, clock, bits, n… numbers, h… hashes, c… carried values; each entity's in fold order."""
    rings: pl.DataFrame
    """Of rings, per entity: totals, buckets, ages (of cells, see fold_rings). Else empty."""

    def of(self, entities: pl.Series) -> "Start":
        """Only those of some entities (String)."""
        ids = entities.rename("entity").to_frame()
        return Start(
            self.remembered.join(ids, on="entity", how="semi", maintain_order="left"),
            self.rings.join(ids, on="entity", how="semi", maintain_order="left"),
        )

    @classmethod
    def nothing(cls, plan: EntityPlan) -> "Start":
        return cls(pl.DataFrame(schema=_columns(plan)), pl.DataFrame(schema=dict(_RING_COLUMNS)))


@dataclass(frozen=True, eq=False)
class Left:
    """What a history leaves at a cut."""

    start: Start
    marks: Ints
    """Places of the marks among the events."""
    held: Ints
    """Places of events before the cut that are no part of a prefix: they are folded again."""


@dataclass(frozen=True, eq=False)
class _Line:
    """What is remembered and the events after it, entity by entity in fold order."""

    ids: list[str]
    starts: Ints
    places: Ints
    """Row of the frame; -1: remembered."""
    clock: Ints
    bits: Ints
    numbers: Ints
    hashes: Ints
    carried: Ints
    cells: Ints
    begun: tuple[Any, Any, Any, Any]
    """See fold_rings."""


def fold_on(history: History, plan: EntityPlan, rows: Ints, start: Start) -> Ints:
    """As `offline.fold_entity`, from where `start` ends. The events have a column MARK.

    Raises StartRefused when an event belongs before its entity's mark.
    """
    places = np.full(history.frame.events.height + 1, len(rows), np.int64)  # the last one: what is remembered
    places[rows] = np.arange(len(rows))
    out = np.full((len(plan.slots), len(rows) + 1), NULL, np.int64)
    line = _line(history, plan, history.sort(plan), start)
    if not len(line.places):
        return out[:, :-1]
    at = places[line.places]
    ordered = Sorted(line.places, line.starts, line.ids, line.clock)
    newest = fold_effects(history, plan, ordered, at, out)
    if plan.rule.layout == Layout.BUCKETS:
        nothing = np.zeros((0, 0, 0), np.int64)
        _fold_rings(
            plan, line, slice(0, len(line.ids)), newest, at, out, (nothing.reshape(0, 0), nothing, nothing)
        )
        return out[:, :-1]
    values = [local_codes(line.starts, each) for each in line.hashes]
    tables = list_tables(plan)
    fold(
        line.starts, line.clock, line.numbers,
        np.stack(values) if values else np.zeros((0, len(at)), np.int32), line.carried, line.bits, at,
        tables.windows, tables.slots, tables.orders, plan.rule.cap, plan.rule.horizon_ms, newest, out,
    )  # fmt: skip
    return out[:, :-1]


def leave(  # noqa: PLR0917
    history: History, plan: EntityPlan, start: Start, settled: Bools, early: Bools, cut_ms: int
) -> Left:
    """What the events leave at a cut, for folds of events whose clock is later than `cut_ms`.

    settled: which events (rows of the frame) belong before the cut; early: which of them may be part of a prefix. Marks are both.
    A prefix ends before an event that comes after others known long after it: for how long it counts in a history goes by
    when it became known, and what is remembered knows clocks alone.
    Raises StartRefused, as `fold_on`.
    """
    ordered = history.sort(plan)
    known = history.known_ms[ordered.rows]
    overtaken = clocks(ordered.starts, known) - known > _OVERTAKEN_MS
    late = np.cumsum(~early[ordered.rows] | overtaken)
    before = np.concatenate([[0], late])[ordered.starts[:-1]]
    codes = np.repeat(np.arange(len(ordered.ids)), np.diff(ordered.starts))
    prefix = late == before[codes]
    line = _line(history, plan, ordered, start, prefix)
    count = np.bincount(codes[prefix], minlength=len(ordered.ids))
    last = ordered.rows[np.maximum(ordered.starts[:-1] + count - 1, 0)] if len(ordered.rows) else ordered.rows
    held = ordered.rows[~prefix & settled[ordered.rows]]
    horizon = plan.rule.horizon_ms
    waiting = np.bincount(codes[~prefix & settled[ordered.rows]], minlength=len(ordered.ids)) > 0
    recent = history.known_ms[last] >= cut_ms - horizon - _GRACE_MS
    living = (count > 0) & (recent | waiting)
    ends = line.starts[1:]
    owner = np.repeat(np.arange(len(line.ids)), np.diff(line.starts))
    place = np.arange(len(owner))
    kept = place == ends[owner] - 1
    if plan.rule.layout == Layout.LIST:
        kept |= (place >= ends[owner] - plan.rule.cap) & (line.clock > cut_ms - horizon)
    kept &= living[owner]
    remembered = {
        "entity": pl.Series(line.ids, dtype=pl.String).gather(owner[kept]),
        "clock": line.clock[kept],
        "bits": line.bits[kept],
    }
    for letter, values in (("n", line.numbers), ("h", line.hashes), ("c", line.carried)):
        remembered |= {f"{letter}{number}": each[kept] for number, each in enumerate(values)}
    frame = pl.DataFrame(remembered, schema=_columns(plan))
    return Left(Start(frame, _rings_left(plan, line, living)), last[living], held)


def _line(
    history: History, plan: EntityPlan, ordered: Sorted, start: Start, only: Bools | None = None
) -> _Line:
    is_mark = history.frame.events[MARK].to_numpy()[ordered.rows]
    codes = np.repeat(np.arange(len(ordered.ids)), np.diff(ordered.starts))
    marked = np.bincount(codes[is_mark], minlength=len(ordered.ids)) > 0
    passed = np.concatenate([[0], np.cumsum(is_mark)])
    before = marked[codes] & (passed[1:] == passed[ordered.starts[:-1]][codes])
    intruders = before
    if OLDER in history.frame.events.columns:
        intruders = before & ~history.frame.events[OLDER].to_numpy()[ordered.rows]
    if intruders.any():
        name = ordered.ids[codes[np.flatnonzero(intruders)[0]]]
        raise StartRefused(
            f"an event of {plan.rule.name} {name!r} belongs before what was kept of its past as it was then"
        )
    chosen = ~is_mark & ~before
    if only is not None:
        chosen &= only
    rows, codes = ordered.rows[chosen], codes[chosen]
    ids = pl.DataFrame({"entity": ordered.ids}, schema={"entity": pl.String}).with_row_index("_code")
    past = start.remembered.join(ids, on="entity", how="inner", maintain_order="left")
    every = np.concatenate([past["_code"].cast(pl.Int64).to_numpy(), codes])
    order = np.argsort(every, kind="stable")
    starts = np.searchsorted(every[order], np.arange(len(ordered.ids) + 1))

    def lined(kept: str, sources: tuple[Input, ...]) -> Ints:
        found = [
            np.concatenate([past[f"{kept}{number}"].to_numpy(), history.columns[source][rows]])[order]
            for number, source in enumerate(sources)
        ]
        return np.stack(found) if found else np.zeros((0, len(order)), np.int64)

    absent = np.full(past.height, NULL, np.int64)
    cells = [np.concatenate([absent, history.columns[source][rows]])[order] for source in plan.cells]
    times = np.concatenate([past["clock"].to_numpy(), history.times[rows]])[order]
    return _Line(
        ids=ordered.ids,
        starts=starts,
        places=np.concatenate([np.full(past.height, -1, np.int64), rows])[order],
        clock=clocks(starts, times),
        bits=np.concatenate([past["bits"].to_numpy(), filter_bits(history, plan)[rows]])[order],
        numbers=lined("n", plan.numbers),
        hashes=lined("h", plan.hashes),
        carried=lined("c", plan.carried),
        cells=np.stack(cells) if cells else np.zeros((0, len(order)), np.int64),
        begun=_begun(plan, ids, start),
    )


def _begun(plan: EntityPlan, ids: pl.DataFrame, start: Start) -> tuple[Any, Any, Any, Any]:
    nothing = unbegun(ids.height)
    if start.rings.is_empty():
        return nothing
    known = start.rings.join(ids, on="entity", how="inner", maintain_order="left")
    begun = nothing[0]
    begun[known["_code"].cast(pl.Int64).to_numpy()] = np.arange(known.height)
    measures, most, met = _ring_shape(plan)
    size = known.height
    return (
        begun,
        _array(known["totals"], (size, measures), np.int64),
        _array(known["buckets"], (size, measures, most), np.int64),
        _array(known["ages"], (size, met, SKETCH_CELLS * SKETCH_LEVELS), np.uint8),
    )


def _rings_left(plan: EntityPlan, line: _Line, living: Bools) -> pl.DataFrame:
    """Totals, buckets and cells of each entity; some entities are folded at a time."""
    if plan.rule.layout != Layout.BUCKETS or not living.any():
        return pl.DataFrame(schema=dict(_RING_COLUMNS))
    measures, most, met = _ring_shape(plan)
    laid, counted = rings(plan), sketches(plan)
    found = [pl.DataFrame(schema=dict(_RING_COLUMNS))]
    for first in range(0, len(line.ids), _ENTITIES_PER_PASS):
        some = slice(first, min(first + _ENTITIES_PER_PASS, len(line.ids)))
        count = some.stop - some.start
        totals = np.zeros((count, measures), np.int64)
        buckets = np.zeros((count, measures, most), np.int64)
        cells = np.full((count, met, SKETCH_CELLS * SKETCH_LEVELS), -1, np.int64)
        rows = slice(int(line.starts[some.start]), int(line.starts[some.stop]))
        size = rows.stop - rows.start
        newest = np.full(size, NULL, np.int64)  # only slots would want it, and nobody reads them here
        unread = np.empty((len(plan.slots), 1), np.int64)
        _fold_rings(plan, line, some, newest, np.zeros(size, np.int64), unread, (totals, buckets, cells))
        clock = line.clock[np.maximum(line.starts[some.start + 1 : some.stop + 1] - 1, 0)]
        ages = np.full(cells.shape, NEVER_MET, np.uint8)
        for number, sketch in enumerate(counted):
            ring = laid[sketch.ring]
            age = (clock // ring.width_ms)[:, None] - cells[:, number]
            ages[:, number] = np.where((cells[:, number] >= 0) & (age < ring.buckets), age, NEVER_MET)
        mine = living[some]
        columns = {
            "entity": pl.Series(line.ids[some], dtype=pl.String).filter(pl.Series(mine)),
            "totals": pl.Series([row.tobytes() for row in totals[mine]], dtype=pl.Binary),
            "buckets": pl.Series([row.tobytes() for row in buckets[mine]], dtype=pl.Binary),
            "ages": pl.Series([row.tobytes() for row in ages[mine]], dtype=pl.Binary),
        }
        found.append(pl.DataFrame(columns))
    return pl.concat(found)


def _fold_rings(  # noqa: PLR0917
    plan: EntityPlan,
    line: _Line,
    some: slice,
    newest: Ints,
    at: Ints,
    out: Ints,
    kept: tuple[Ints, Ints, Ints],
) -> None:
    rows = slice(int(line.starts[some.start]), int(line.starts[some.stop]))
    tables = ring_tables(plan)
    begun, begun_totals, begun_buckets, begun_ages = line.begun
    kept_totals, kept_buckets, kept_cells = kept
    fold_rings(
        line.starts[some.start : some.stop + 1] - rows.start, line.clock[rows],
        np.ascontiguousarray(line.numbers[:, rows]), np.ascontiguousarray(line.cells[:, rows]),
        np.ascontiguousarray(line.carried[:, rows]), line.bits[rows], at,
        tables.rings, tables.measures, tables.sketches, tables.slots, plan.rule.horizon_ms, tables.clean_ring,
        newest, out, begun[some], begun_totals, begun_buckets, begun_ages, kept_totals, kept_buckets, kept_cells,
    )  # fmt: skip


def _ring_shape(plan: EntityPlan) -> tuple[int, int, int]:
    """Measures, most buckets of a ring, sketches."""
    laid = rings(plan)
    most = max((ring.buckets for ring in laid), default=1)
    return sum(len(ring.measures) for ring in laid), most, len(sketches(plan))


def _columns(plan: EntityPlan) -> dict[str, Any]:
    lettered = (("n", plan.numbers), ("h", plan.hashes), ("c", plan.carried))
    names = [f"{letter}{number}" for letter, sources in lettered for number in range(len(sources))]
    return {"entity": pl.String, **dict.fromkeys(["clock", "bits", *names], pl.Int64)}


def _array(values: pl.Series, shape: tuple[int, ...], dtype: type) -> Any:
    return np.array(bytearray(b"".join(values.to_list())), np.uint8).view(dtype).reshape(shape)
