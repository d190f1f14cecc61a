"""Features of many events at once, exactly as the online state would have given them, event by event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fraud_core.features.fold import clocks, fold, local_codes
from fraud_core.features.fold_labels import fold_labels
from fraud_core.features.fold_rings import fold_rings
from fraud_core.features.inputs import Frame, Ints, matching
from fraud_core.features.kernel import evaluate
from fraud_core.features.labels import EFFECTS_SCHEMA, label_effects
from fraud_core.features.order import Epochs, column_or, first_reading, fold_order, known_order
from fraud_core.features.plan import NULL, EntityPlan, Input, Layout
from fraud_core.features.tables import label_table, list_tables, ring_tables

if TYPE_CHECKING:
    from fraud_core.features.feature_set import FeatureGroup, FeatureSet

Floats = np.ndarray[Any, np.dtype[np.float32]]

ROWS_PER_PASS = 8192
"""Rows that the kernel turns into features at a time: their columns stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Sorted:
    """The rows of one entity kind in the order of their folds."""

    rows: Ints
    """Place of each sorted row in the frame."""
    starts: Ints
    """Bounds of each entity among the sorted rows; one more than there are entities."""
    ids: list[str]
    clock: Ints


@dataclass(frozen=True, eq=False)
class History:
    """Events as integers, with what orders them."""

    features: "FeatureSet"
    frame: Frame
    columns: dict[Input, Ints]
    effects: pl.DataFrame
    known: Ints
    """Places of the rows in the order in which they became known."""
    known_ms: Ints
    reading: Ints | None
    """Per row the first rebuild that had read it, see order.first_reading."""

    @property
    def times(self) -> Ints:
        """Event time of each row, ms."""
        return self.columns[self.features.program.inputs[0]]  # the first input is the event time

    def sort(self, plan: EntityPlan) -> Sorted:
        """Sort the rows for one entity kind."""
        codes, ids = self.frame.coded(plan.rule.field)
        rows = fold_order(
            codes,
            self.known,
            self.known_ms,
            column_or(self.frame.events, "_epoch", 0),
            column_or(self.frame.events, f"_seq_{plan.rule.name}", -1),
            plan.rule.horizon_ms,
            self.reading,
        )
        starts = np.searchsorted(codes[rows], np.arange(len(ids) + 1))
        return Sorted(rows, starts, ids, clocks(starts, self.times[rows]))


def read_history(  # noqa: PLR0917
    features: "FeatureSet",
    events: pl.DataFrame,
    labels: pl.DataFrame | None,
    epochs: Epochs | None = None,
    entity: str | None = None,
    effects: pl.DataFrame | None = None,
    columns: dict[Input, Ints] | None = None,
) -> History:
    """Turn a frame of transactions, and the labels of some of them, into integers.

    With `entity` only into those that the folds and features of this one need; `events` may lack the other columns then.
    `effects`: those of the labels (see `label_effects`), `columns`: the integers, where they are known already.
    """
    frame = Frame(events)
    if columns is None:
        sources = features.program.inputs if entity is None else entity_inputs(features, entity)
        columns = {source: frame.column(source) for source in sources}
    if effects is None:
        effects = (
            pl.DataFrame(schema=EFFECTS_SCHEMA)
            if labels is None
            else label_effects(features, events, labels, None if entity is None else (entity,))
        )
    known_ms = known_times(events)
    reading = first_reading(events, known_ms, epochs)
    return History(features, frame, columns, effects, known_order(events), known_ms, reading)


def entity_inputs(features: "FeatureSet", entity: str) -> tuple[Input, ...]:
    """What the fold of an entity and the features that read it alone take from an event; the event time comes first."""
    plan, group = features.plans[entity], features.groups.get((entity,))
    found = dict.fromkeys((features.program.inputs[0], *plan.arguments))
    found |= dict.fromkeys(source for where in plan.filters for source, _ in where.clauses)
    found |= dict.fromkeys(group.program.inputs if group else ())
    return tuple(found)


def known_times(events: pl.DataFrame) -> Ints:
    """When each row became known, ms; 0 where that is not recorded."""
    if "known_at" not in events.columns:
        return np.zeros(events.height, np.int64)
    times: Ints = events["known_at"].dt.epoch("us").fill_null(0).to_numpy() // 1000
    return times


def compute_offline(
    features: "FeatureSet",
    events: pl.DataFrame,
    labels: pl.DataFrame | None,
    epochs: Epochs | None = None,
    wanted: pl.Series | None = None,
) -> pl.DataFrame:
    """Features of `events`, row by row: the event id and one Float32 column per feature (null is NaN).

    events: transactions rows with the contract's columns and, where known, the lake's (its origin, `known_at`,
    `_epoch`, `_seq_<entity>`), in any order, each event id once. labels: event id, is_fraud, known_at.
    epochs: the registry of rebuilds, see `order.Epochs`; without it, all plain history stands before all epochs.
    wanted: which rows are answered (Boolean); the others are folded only, and left out of what is returned.
    """
    history = read_history(features, events, labels, epochs)
    rows = answered(events.height, wanted)
    values: dict[str, Floats] = {}
    groups = features.groups
    waiting = {entity for group in groups if len(group) > 1 for entity in group}
    folded: dict[str, Ints] = {}
    for name, plan in features.plans.items():
        block = fold_entity(history, plan, rows)
        if (name,) in groups:
            values |= evaluate_group(groups[name,], history.columns, [block], rows)
        if name in waiting:  # a feature compares this entity with another
            folded[name] = block
    for entities, group in groups.items():
        if len(entities) != 1:
            values |= evaluate_group(group, history.columns, [folded[name] for name in entities], rows)
    ids = events[features.contract.event_id]
    return pl.DataFrame({ids.name: ids.gather(rows), **{name: values[name] for name in features.names}})


def answered(height: int, wanted: pl.Series | None) -> Ints:
    """Places of the rows that are answered."""
    if wanted is None:
        return np.arange(height, dtype=np.int64)
    return np.flatnonzero(wanted.to_numpy())


def evaluate_group(
    group: "FeatureGroup", inputs: Mapping[Input, Ints], blocks: Sequence[Ints], rows: Ints
) -> dict[str, Floats]:
    """The features of a group at some rows. inputs: int64 per row of the frame; blocks: the slots of each of its entities
    (see `fold_entity`), one column per row of `rows`."""
    program = group.program
    sources = [inputs[source] for source in program.inputs]
    out = {name: np.empty(len(rows), np.float32) for name in group.names}
    for start in range(0, len(rows), ROWS_PER_PASS):
        some = slice(start, min(start + ROWS_PER_PASS, len(rows)))
        columns = np.empty((program.width, some.stop - start), np.int64)
        for place, source in enumerate(sources):
            columns[place] = source[rows[some]]
        first = len(sources)
        for block in blocks:
            columns[first : first + len(block)] = block[:, some]
            first += len(block)
        values = np.empty((columns.shape[1], len(group.names)), np.float32)
        evaluate(columns, program.steps, program.constants, program.features, values)
        for place, name in enumerate(group.names):
            out[name][some] = values[:, place]
    return out


def filter_bits(history: History, plan: EntityPlan) -> Ints:
    """Bit f of a row is set when the row passes the plan's filter f."""
    bits = np.zeros(history.frame.events.height, np.int64)
    for place, where in enumerate(plan.filters):
        bits |= matching(where, history.columns).astype(np.int64) << place
    return bits


def fold_entity(history: History, plan: EntityPlan, rows: Ints) -> Ints:
    """Fold every event of one entity kind; returns the slots at the given rows: int64[slots, rows], NULL without an entity."""
    height = history.frame.events.height
    places = np.full(height, len(rows), np.int64)  # nobody reads the last column
    places[rows] = np.arange(len(rows))
    out = np.full((len(plan.slots), len(rows) + 1), NULL, np.int64)
    ordered = history.sort(plan)
    if len(ordered.rows):
        places = places[ordered.rows]
        newest = fold_effects(history, plan, ordered, places, out)
        if plan.rule.layout == Layout.BUCKETS:
            nothing = np.zeros((0, 0, 0), np.int64)
            kept = nothing.reshape(0, 0), nothing, nothing
            fold_buckets(history, plan, ordered, newest, places, out, kept)
        else:
            fold_list(history, plan, ordered, newest, places, out)
    return out[:, :-1]


def fold_list(  # noqa: PLR0917
    history: History, plan: EntityPlan, ordered: Sorted, newest: Ints, places: Ints, out: Ints
) -> None:
    """Fold the entities of `ordered` over lists, into the columns `places` of `out`; newest: see `fold`."""
    rows = ordered.rows
    numbers = _gather(history, plan.numbers, rows)
    carried = _gather(history, plan.carried, rows)
    values = _stack([_local(history, ordered, source) for source in plan.hashes], len(rows), np.int32)
    bits = filter_bits(history, plan)[rows]
    tables = list_tables(plan)
    fold(
        ordered.starts, ordered.clock, numbers, values, carried, bits, places,
        tables.windows, tables.slots, tables.orders, plan.rule.cap, plan.rule.horizon_ms, newest, out,
    )  # fmt: skip


def fold_buckets(  # noqa: PLR0917
    history: History,
    plan: EntityPlan,
    ordered: Sorted,
    newest: Ints,
    places: Ints,
    out: Ints,
    kept: tuple[Ints, Ints, Ints],
) -> None:
    """Fold the entities of `ordered` over rings, into the columns `places` of `out`.

    `kept` receives their last states where it has room for them; see fold_rings.
    """
    rows = ordered.rows
    tables = ring_tables(plan)
    fold_rings(
        ordered.starts, ordered.clock, _gather(history, plan.numbers, rows), _gather(history, plan.cells, rows),
        _gather(history, plan.carried, rows), filter_bits(history, plan)[rows], places,
        tables.rings, tables.measures, tables.sketches, tables.slots, plan.rule.horizon_ms, tables.clean_ring,
        newest, out, *unbegun(len(ordered.starts) - 1), *kept,
    )  # fmt: skip


def unbegun(entities: int) -> tuple[Any, Ints, Ints, Any]:
    """What `fold_rings` takes where every entity begins with nothing."""
    nothing = np.zeros((0, 0, 0), np.int64)
    return np.full(entities, -1, np.int64), nothing.reshape(0, 0), nothing, nothing.astype(np.uint8)


def fold_effects(history: History, plan: EntityPlan, ordered: Sorted, places: Ints, out: Ints) -> Ints:
    """Write the label slots; returns the newest known fraud per sorted row."""
    newest = np.full(len(ordered.rows), NULL, np.int64)
    if plan.has_labels:
        starts, effect, happened, sign, following = _entity_effects(history.effects, plan, ordered.ids)
        fold_labels(
            ordered.starts, ordered.clock, places, label_table(plan), plan.rule.horizon_ms,
            plan.rule.label_cap, starts, effect, happened, sign, following, newest, out,
        )  # fmt: skip
    return newest


def _gather(history: History, sources: tuple[Input, ...], rows: Ints) -> Ints:
    return _stack([history.columns[source][rows] for source in sources], len(rows), np.int64)


def _stack(parts: list[Ints], size: int, dtype: type) -> Ints:
    return np.stack(parts) if parts else np.zeros((0, size), dtype)


def _local(history: History, ordered: Sorted, source: Input) -> Ints:
    codes: Ints = local_codes(ordered.starts, history.columns[source][ordered.rows])
    return codes


def _entity_effects(effects: pl.DataFrame, plan: EntityPlan, ids: list[str]) -> tuple[Ints, ...]:
    """The effects of one entity kind, aligned with its sorted ids; `following` = next effect of the same event."""
    codes = pl.DataFrame({"entity_id": ids, "code": np.arange(len(ids), dtype=np.int64)})
    mine = (
        effects.filter(pl.col("entity") == plan.rule.name)
        .join(codes, on="entity_id", how="inner")
        .sort("code", "effect_ms", "event_ms", "event_hash", "rank")
        .with_row_index("place")
        .with_columns(
            pl.col("place")
            .cast(pl.Int64)
            .shift(-1)
            .over("code", "event_hash")
            .fill_null(-1)
            .alias("following")
        )
    )
    starts = np.searchsorted(mine["code"].to_numpy(), np.arange(len(ids) + 1))
    return (
        starts,
        mine["effect_ms"].to_numpy(),
        mine["event_ms"].to_numpy(),
        mine["sign"].cast(pl.Int64).to_numpy(),
        mine["following"].to_numpy(),
    )
