"""Payments of a build by their entities: a part holds all events of its entities, so it is folded on its own.

Where the build goes on from a snapshot, what an earlier build left of a part is folded on; where it leaves one, what the part's
events leave at the new cut is kept before they are folded.
"""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from fraud_assets.features.by_chunk import CHUNK, PLACE, slot_column, waiting
from fraud_assets.features.by_id import FRESH, hashed
from fraud_assets.features.narrow import coded, input_columns, narrowed, order_columns, told, widened
from fraud_assets.features.reading import Reading, row_bytes
from fraud_assets.features.snapshots import OPEN_FOR, Keeper, Snapshot
from fraud_assets.features.spill import PART, Spill
from fraud_assets.lake import DECISIONS
from fraud_core.features import FeatureSet
from fraud_core.features.inputs import Ints
from fraud_core.features.labels import EFFECTS_SCHEMA
from fraud_core.features.offline import History, answered, evaluate_group, fold_entity, read_history
from fraud_core.features.order import TURN
from fraud_core.features.plan import Input
from fraud_core.features.starts import MARK, OLDER, Start, fold_on, leave

_SEED: Final = 2
"""Of the hash that gives an entity its part; a snapshot's parts rest on it."""


class ByEntity:
    """In `parts` parts of each entity kind. First `add` everything, then `fold` each part."""

    def __init__(  # noqa: PLR0917
        self,
        features: FeatureSet,
        schema: pl.Schema,
        reading: Reading,
        parts: Mapping[str, int],
        start: Snapshot | None,
        keeper: Keeper | None,
        spill: Callable[[str], Spill],
    ) -> None:
        """`schema`: that of the payments."""
        self.features, self.reading, self.parts = features, reading, dict(parts)
        self.start, self.keeper = start, keeper
        self._order = {name: order_columns(features, schema, name) for name in features.plans}
        self._inputs = {name: input_columns(features, name) for name in features.plans}
        self._waiting = waiting(features)
        self._events = {name: spill(f"events-{name}") for name in features.plans}
        self._known = {name: spill(f"labels-{name}") for name in features.plans}

    def add(self, rows: pl.DataFrame, integers: Mapping[Input, Ints], effects: pl.DataFrame | None) -> None:
        """Pass settled and placed payments on to each of their entities, as integers, and what labels do to these."""
        narrow = {source: narrowed(source, values) for source, values in integers.items()}
        if effects is not None:
            for (name,), mine in effects.partition_by("entity", as_dict=True).items():
                parts = self.parts[str(name)]
                self._known[str(name)].add(mine.with_columns(hashed("entity_id", _SEED, parts).alias(PART)))
        for name, plan in self.features.plans.items():
            field = plan.rule.field
            parts = self.parts[name]
            nobodys = pl.when(pl.col(field).is_null()).then(pl.col(PLACE) % parts)
            owner = nobodys.otherwise(hashed(field, _SEED, parts)).cast(pl.Int32).alias(PART)
            older = (~pl.col(FRESH)).alias(OLDER)
            concerned = rows.select(*self._order[name], CHUNK, PLACE, TURN, older, owner).with_columns(
                narrow[source].alias(column) for source, column in self._inputs[name].items()
            )
            if rows[field].null_count():
                concerned = concerned.filter(pl.col(field).is_not_null() | pl.col(PLACE).is_not_null())
            self._events[name].add(concerned)

    def fold(self, name: str, part: int) -> pl.DataFrame | None:
        """Of the part's payments that have a place: chunk, place, the kind's features, and slots where some wait for them.

        None when there are none. Raises StartRefused when the snapshot is not what the events before it leave any more.
        """
        rows, effects = self._events[name].take(part), self._known[name].take(part)
        plan, group = self.features.plans[name], self.features.groups.get((name,))
        start, held = Start.nothing(plan), None
        if self.start:
            start, held = self.start.load(plan, part)
        if held is not None:
            held = self._turned(held)
            fresh = held.clear() if rows is None else rows.with_columns(pl.lit(value=False).alias(MARK))
            rows = pl.concat([fresh, held.select(fresh.columns)])
        if rows is None:
            return None
        if self.keeper:
            self._leave(self.keeper, name, part, rows, start)
        field, mine = plan.rule.field, pl.col(PLACE).is_not_null()
        if rows[PLACE].null_count():
            active = rows.filter(mine).select(field).drop_nulls().unique()
            rows = pl.concat(
                [rows.join(active, on=field, how="semi"), rows.filter(mine & pl.col(field).is_null())]
            )
        if rows.is_empty():
            return None
        if effects is None:
            effects = pl.DataFrame(schema=EFFECTS_SCHEMA)
        history = self._history(name, rows, effects)
        places = answered(rows.height, rows[PLACE].is_not_null())
        if held is None:
            block = fold_entity(history, plan, places)
        else:
            block = fold_on(
                history, plan, places, start.of(rows[field].drop_nulls().unique().cast(pl.String))
            )
        found = evaluate_group(group, history.columns, [block], places) if group else {}
        slots = (
            {slot_column(slot): column for slot, column in enumerate(block)} if name in self._waiting else {}
        )
        return rows.select(pl.col(CHUNK, PLACE).gather(places)).with_columns(
            **{key: pl.Series(value) for key, value in (found | slots).items()}
        )

    def _history(self, name: str, rows: pl.DataFrame, effects: pl.DataFrame | None = None) -> History:
        columns = {source: widened(source, rows[column]) for source, column in self._inputs[name].items()}
        return read_history(self.features, rows, None, self.reading.epochs, name, effects, columns)

    def _turned(self, held: pl.DataFrame) -> pl.DataFrame:
        """Events that a snapshot holds, with the turn that they had; without what no history would have read."""
        turn = (2 + (pl.col("_stream") == DECISIONS).cast(pl.Int64)) * 2**60 - 2**59 + pl.int_range(pl.len())
        return (
            coded(held)
            .with_columns(
                turn.alias(TURN),
                pl.lit(None, pl.Int32).alias(CHUNK),
                pl.lit(None, pl.Int64).alias(PLACE),
                pl.lit(value=False).alias(OLDER),
            )
            .filter(pl.col(MARK) | (pl.col("known_at") >= self.reading.known_from))
        )

    def _leave(self, keeper: Keeper, name: str, part: int, rows: pl.DataFrame, start: Start) -> None:
        """Keep what the part's events leave at the cut of the new snapshot."""
        plan = self.features.plans[name]
        if MARK not in rows.columns:
            rows = rows.with_columns(pl.lit(value=False).alias(MARK))
        rows = rows.filter(pl.col(MARK) | (pl.col("known_at") >= self.reading.known_from))
        rows = rows.filter(pl.col(plan.rule.field).is_not_null())
        settled = pl.col(MARK) | keeper.cut.rows
        early = pl.col(MARK) | (keeper.cut.rows & (pl.col("known_at") < keeper.cut.before - OPEN_FOR))
        history = self._history(name, rows)
        flags = rows.select(settled.alias("settled"), early.alias("early"))
        cut_ms = int(keeper.cut.before.timestamp() * 1000)
        left = leave(history, plan, start, flags["settled"].to_numpy(), flags["early"].to_numpy(), cut_ms)
        columns = [*self._order[name], *self._inputs[name].values()]
        marks = rows[left.marks].select(columns).with_columns(pl.lit(value=True).alias(MARK))
        held = rows[left.held].select(columns).with_columns(pl.lit(value=False).alias(MARK))
        keeper.add(name, part, left.start, told(pl.concat([marks, held])))


def folding_bytes(features: FeatureSet, schema: pl.Schema, name: str) -> int:
    """About what an event takes while its part is folded: its columns twice, integers, and all that is answered."""
    plan = features.plans[name]
    integers = 4 * len(input_columns(features, name)) + 2 * len(plan.slots) + 16
    return 2 * row_bytes(schema, order_columns(features, schema, name)) + 8 * integers
