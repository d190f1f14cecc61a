"""The features of a range in bounded memory, equal to `compute_offline` bit for bit.

1. The payments are read once and put away by their id, so that copies, labels and payments meet.
2. Each part is cleared of copies; payments of the range get a place in a chunk of the output; every payment goes on, with the
   columns that it needs there, to the part of each of its entities.
3. Each part of an entity kind holds all events of its entities: it is folded, and what features read goes to the chunks.
4. Chunk by chunk the columns are joined.

A build may go on from a snapshot (see snapshots.py): then only payments that it does not stand for are read, those before them
only where a label names them; and it may leave one, part by part of each entity kind.

Every step's parts are so many that one of them fits into the memory allowed. An entity is never divided, so the busiest one must
fit too. Work and bytes on disk grow with the events, not with their square.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from fraud_assets.features.chunks import Chunks
from fraud_assets.features.reading import Reading, carried_columns, needed_columns, row_bytes
from fraud_assets.features.snapshots import OPEN_FOR, Keeper, Snapshot, entity_columns
from fraud_assets.features.spill import PART, Spill
from fraud_assets.lake import DECISIONS
from fraud_core.errors import StartRefused
from fraud_core.features import FeatureSet
from fraud_core.features.inputs import Frame
from fraud_core.features.labels import EFFECTS_SCHEMA, label_effects
from fraud_core.features.offline import (
    Floats,
    answered,
    entity_inputs,
    evaluate_group,
    fold_entity,
    read_history,
)
from fraud_core.features.order import up_to
from fraud_core.features.starts import MARK, OLDER, Start, fold_on, leave

_CHUNK, _PLACE, _TURN = "_chunk", "_place", "_turn"
"""Of a payment of the range: its chunk of the output and its place in it. Of every payment: its turn where all else ties."""
_FRESH = "_fresh"
"""Whether a payment is folded; else it is here for its labels."""
_BATCH_ROWS = 50_000
_FEWEST_PARTS = 4
"""Of an entity kind, where a snapshot is left: its parts serve later builds, of more events perhaps."""
_FEW_IDS = 4_000_000
_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Sources:
    """The two tables, each as of one version."""

    payments: pl.LazyFrame
    """All of them, copies included."""
    labels: pl.LazyFrame
    """As `read_labels` gives them."""
    rows: int
    """About how many payments are folded."""
    per_day: dict[date, int]
    """Payments of the range by event date, copies included."""


class StreamedFeatures:
    """One build. `memory`: bytes for what is held at a time."""

    def __init__(  # noqa: PLR0917
        self,
        features: FeatureSet,
        reading: Reading,
        sources: Sources,
        memory: int,
        folder: Path,
        start: Snapshot | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.features, self.reading, self.sources = features, reading, sources
        self.start, self.keeper = start, keeper
        self._id = features.contract.event_id
        self._schema = sources.payments.collect_schema()
        self._memory, self._folder = memory, folder
        rows = sources.rows
        carried = carried_columns(features.contract)
        size = 4 * len(features.names) + row_bytes(self._schema, carried)
        most = max(1, memory // (8 * size))
        self.chunks = Chunks.of(reading.first, reading.last, sources.per_day, most)
        whole = row_bytes(self._schema, needed_columns(features, self._schema))
        self._id_parts = self._parts(rows, 4 * whole)
        joint = [entities for entities in features.groups if len(entities) > 1]
        self._waiting = {entity for entities in joint for entity in entities}
        fewest = _FEWEST_PARTS if keeper else 1
        self._entity_parts = {
            name: start.parts[name] if start else max(fewest, self._parts(rows, self._folding_bytes(name)))
            for name in features.plans
        }
        self._joint_fields = {
            source.field for entities in joint for source in features.groups[entities].program.inputs
        }
        self._payments, self._decided = self._spill("payments"), self._spill("decided")
        self._labels, self._base = self._spill("labels"), self._spill("base")
        self._events = {name: self._spill(f"events-{name}") for name in features.plans}
        self._known = {name: self._spill(f"labels-{name}") for name in features.plans}
        self._values = {name: self._spill(f"values-{name}") for name in features.plans}
        self._filled: dict[int, int] = {}
        self._prepared = False
        self.folded = 0

    @property
    def parts(self) -> dict[str, int]:
        """Into how many parts each entity kind is divided."""
        return dict(self._entity_parts)

    def prepare(self) -> None:
        """Read and fold everything. Raises StartRefused when the snapshot is not what the events before it leave any more."""
        if self._prepared:
            return
        self._put_away()
        for part in range(self._id_parts):
            self._settle(part)
        for name in self.features.plans:
            for part in range(self._entity_parts[name]):
                self._fold(name, part)
        self._prepared = True

    def chunk_frames(self) -> Iterator[pl.DataFrame]:
        """The rows of each chunk of the output in turn: the carried columns, event_date, known_at, the features."""
        self.prepare()
        for chunk in range(self.chunks.count):
            yield self._joined(chunk)

    # -- 1. from the lake to parts by id

    def _put_away(self) -> None:
        reading, known = self.reading, pl.col("known_at")
        if reading.within is None:
            return
        part = _hashed(self._id, 0, self._id_parts).alias(PART)
        digest = pl.col(self._id).cast(pl.String).hash(seed=1)
        labelled = (
            self.sources.labels.filter(known >= reading.known_from)
            .select(digest.alias("digest"), "event_date")
            .collect(engine="streaming")
        )
        digests = labelled["digest"].unique()
        first_labelled = labelled["event_date"].min()
        fresh = (known >= reading.known_from).fill_null(value=False)
        if self.start:
            self._check_copies(self.start)
            fresh &= ~self.start.cut.rows
        chosen = fresh
        if first_labelled is not None:  # which of them really are: see _settle
            reached = (pl.col("event_date") >= first_labelled) | (known >= reading.known_from)
            chosen |= reached & digest.is_in(digests.implode())
        chosen = (chosen & reading.within).fill_null(value=False)
        row = 0
        payments = self.sources.payments.filter(chosen).select(
            *needed_columns(self.features, self._schema), part, fresh.alias(_FRESH)
        )
        for batch in _batches(payments):
            self._payments.add(batch.with_columns((pl.int_range(pl.len()) + row).alias(_TURN)))
            row += batch.height
        decided = self.sources.payments.filter(~chosen & (pl.col("_stream") == DECISIONS))
        if self.start:
            sent = self.sources.payments.filter(chosen & (pl.col("_stream") != DECISIONS))
            ids = sent.select(digest.alias("digest")).unique().head(_FEW_IDS).collect(engine="streaming")
            if ids.height < _FEW_IDS:
                decided = decided.filter(digest.is_in(ids["digest"].implode()))
        for batch in _batches(decided.select(self._id, part)):
            self._decided.add(batch)
        labels = self.sources.labels.filter(digest.is_in(digests.implode()))
        for batch in _batches(labels.select(self._id, "is_fraud", "known_at", part)):
            self._labels.add(batch)

    def _check_copies(self, start: Snapshot) -> None:
        """A decision that came after the snapshot wins over the sent copy that the snapshot stands for."""
        digest = pl.col(self._id).cast(pl.String).hash(seed=1)
        decided = pl.col("_stream") == DECISIONS
        there = up_to(start.read) & (pl.col("known_at") >= start.cut.before)
        later = self.sources.payments.filter(decided & ~start.cut.rows & ~there)
        ids = later.select(digest.alias("digest")).unique().collect(engine="streaming")["digest"]
        if ids.is_empty():
            return
        beaten = self.sources.payments.filter(~decided & start.cut.rows & digest.is_in(ids.implode()))
        if beaten.select(pl.len()).collect(engine="streaming").item():
            raise StartRefused("a payment that was kept as sent has been decided since")

    # -- 2. from parts by id to parts by entity

    def _settle(self, part: int) -> None:
        rows = self._payments.take(part)
        decided, labels = self._decided.take(part), self._labels.take(part)
        if rows is None:
            return
        rows, labels = self._once(rows, decided, labels)
        if rows.is_empty():
            return
        if labels is not None:
            self._put_effects(rows, labels)
        if self.start:  # a history has payments that were labelled since, however old
            rows = rows.filter(pl.col(_FRESH) | (pl.col("known_at") < self.reading.known_from))
        self.folded += rows.height
        rows = self._placed(rows)
        self._base.add(self._with_plain_features(rows.filter(pl.col(_PLACE).is_not_null())))
        for name, plan in self.features.plans.items():
            field = plan.rule.field
            parts = self._entity_parts[name]
            nobodys = pl.when(pl.col(field).is_null()).then(pl.col(_PLACE) % parts)
            owner = nobodys.otherwise(_hashed(field, 2, parts)).cast(pl.Int32).alias(PART)
            older = (~pl.col(_FRESH)).alias(OLDER)
            concerned = rows.select(*self._entity_columns(name), _CHUNK, _PLACE, _TURN, older, owner)
            if rows[field].null_count():
                concerned = concerned.filter(pl.col(field).is_not_null() | pl.col(_PLACE).is_not_null())
            self._events[name].add(concerned)

    def _put_effects(self, rows: pl.DataFrame, labels: pl.DataFrame) -> None:
        """Here all labels of a payment and the payment meet: what they do goes to the entities."""
        labelled = rows.join(labels, on=self._id, how="semi").sort(_TURN)
        effects = label_effects(self.features, labelled, labels)
        for (name,), mine in effects.partition_by("entity", as_dict=True).items():
            parts = self._entity_parts[str(name)]
            self._known[str(name)].add(mine.with_columns(_hashed("entity_id", 2, parts).alias(PART)))

    def _once(
        self, rows: pl.DataFrame, decided: pl.DataFrame | None, labels: pl.DataFrame | None
    ) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """The payments of a part without copies, each with its turn as `read_history` would have it, and the labels that count."""
        is_decision = pl.col("_stream") == DECISIONS
        ids = rows.filter(is_decision).select(self._id)
        if decided is not None:
            ids = pl.concat([ids, decided])
        if ids.height:
            sent = rows.filter(~is_decision).join(ids, on=self._id, how="anti")
            rows = pl.concat([sent, rows.filter(is_decision)])
        recent = pl.col(_FRESH)
        if labels is None:
            rows = rows.filter(recent) if rows.select((~recent).any()).item() else rows
        else:
            known = pl.col("known_at") >= self.reading.known_from
            since = labels.filter(known).select(self._id).unique()
            if rows.select((~recent).any()).item():
                older = rows.filter(~recent).join(since, on=self._id, how="semi")
                rows = pl.concat([older, rows.filter(recent)])
            frauds = labels.filter(pl.col("is_fraud").cast(pl.Boolean)).select(self._id).unique()
            # A payment that nobody ever called fraud has no effect on anything.
            labels = labels.join(since, on=self._id, how="semi").join(frauds, on=self._id, how="semi")
        turn = (recent.cast(pl.Int64) * 2 + is_decision.cast(pl.Int64)) * 2**60 + pl.col(_TURN)
        return rows.with_columns(turn.alias(_TURN)), labels

    def _placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Give payments of the range a chunk and a place in it."""
        chunk = self.chunks.chunk_of(pl.col("event_date"), pl.col(self._id).cast(pl.String).hash(seed=3))
        rows = rows.with_columns(pl.when(self.reading.of_range).then(chunk).alias(_CHUNK))
        filled = pl.DataFrame(
            {_CHUNK: list(self._filled), "_filled": list(self._filled.values())},
            schema={_CHUNK: pl.Int32, "_filled": pl.Int64},
        )
        rows = rows.join(filled, on=_CHUNK, how="left", maintain_order="left").with_columns(
            pl.when(pl.col(_CHUNK).is_not_null())
            .then(pl.int_range(pl.len()).over(_CHUNK) + pl.col("_filled").fill_null(0))
            .alias(_PLACE)
        )
        for chunk_number, count in rows.drop_nulls(_CHUNK).group_by(_CHUNK).len().iter_rows():
            self._filled[chunk_number] = self._filled.get(chunk_number, 0) + count
        return rows

    def _with_plain_features(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What goes to the chunks at once: the carried columns, features of the event alone, fields for joint ones."""
        kept = [*carried_columns(self.features.contract), "event_date", "known_at", *self._joint_fields]
        values = self._evaluated((), rows, [])
        return rows.select(
            *[name for name in dict.fromkeys(kept) if name in rows.columns],
            pl.col(_CHUNK).alias(PART),
        ).with_columns(**{name: pl.Series(found) for name, found in values.items()})

    # -- 3. from parts by entity to chunks of the output

    def _fold(self, name: str, part: int) -> None:
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
            return
        if self.keeper:
            self._leave(name, part, rows, start)
        field, mine = plan.rule.field, pl.col(_PLACE).is_not_null()
        active = rows.filter(mine).select(field).drop_nulls().unique()
        rows = pl.concat(
            [rows.join(active, on=field, how="semi"), rows.filter(mine & pl.col(field).is_null())]
        )
        if rows.is_empty():
            return
        rows = rows.sort(_TURN)
        if effects is None:
            effects = pl.DataFrame(schema=EFFECTS_SCHEMA)
        history = read_history(self.features, rows, None, self.reading.epochs, name, effects)
        places = answered(rows.height, rows[_PLACE].is_not_null())
        if held is None:
            block = fold_entity(history, plan, places)
        else:
            block = fold_on(history, plan, places, start.of(active[field].cast(pl.String)))
        found = evaluate_group(group, history.columns, [block], places) if group else {}
        slots = (
            {f"{_PLACE}{slot}": column for slot, column in enumerate(block)} if name in self._waiting else {}
        )
        self._values[name].add(
            rows.select(pl.col(_CHUNK, _PLACE).gather(places)).select(
                pl.col(_CHUNK).alias(PART),
                _PLACE,
                **{key: pl.Series(value) for key, value in (found | slots).items()},
            )
        )

    def _turned(self, held: pl.DataFrame) -> pl.DataFrame:
        """Events that a snapshot holds, with the turn that they had; without what no history would have read."""
        turn = (2 + (pl.col("_stream") == DECISIONS).cast(pl.Int64)) * 2**60 - 2**59 + pl.int_range(pl.len())
        return held.with_columns(
            turn.alias(_TURN),
            pl.lit(None, pl.Int32).alias(_CHUNK),
            pl.lit(None, pl.Int64).alias(_PLACE),
            pl.lit(value=False).alias(OLDER),
        ).filter(pl.col(MARK) | (pl.col("known_at") >= self.reading.known_from))

    def _leave(self, name: str, part: int, rows: pl.DataFrame, start: Start) -> None:
        """Keep what the part's events leave at the cut of the new snapshot."""
        keeper, plan = self.keeper, self.features.plans[name]
        if keeper is None:
            return
        if MARK not in rows.columns:
            rows = rows.with_columns(pl.lit(value=False).alias(MARK))
        rows = rows.filter(pl.col(MARK) | (pl.col("known_at") >= self.reading.known_from)).sort(_TURN)
        rows = rows.filter(pl.col(plan.rule.field).is_not_null())
        settled = pl.col(MARK) | keeper.cut.rows
        early = pl.col(MARK) | (keeper.cut.rows & (pl.col("known_at") < keeper.cut.before - OPEN_FOR))
        history = read_history(self.features, rows, None, self.reading.epochs, name)
        flags = rows.select(settled.alias("settled"), early.alias("early"))
        cut_ms = int(keeper.cut.before.timestamp() * 1000)
        left = leave(history, plan, start, flags["settled"].to_numpy(), flags["early"].to_numpy(), cut_ms)
        columns = self._entity_columns(name)
        marks = rows[left.marks].select(columns).with_columns(pl.lit(value=True).alias(MARK))
        held = rows[left.held].select(columns).with_columns(pl.lit(value=False).alias(MARK))
        keeper.add(name, part, left.start, pl.concat([marks, held]))

    # -- 4. the output

    def _joined(self, chunk: int) -> pl.DataFrame:
        names = [*carried_columns(self.features.contract), "event_date", "known_at"]
        base = self._base.take(chunk)
        if base is None:
            return pl.DataFrame(schema=self.output_schema())
        columns: dict[str, pl.Series] = {}
        blocks: dict[str, list[np.ndarray]] = {}
        for name in self.features.plans:
            values = self._values[name].take(chunk)
            if values is None or values.height != base.height:
                raise AssertionError(f"features of {name} were expected for each of {base.height} payments")
            values = values.sort(_PLACE)
            group = self.features.groups.get((name,))
            columns |= {each: values[each] for each in (group.names if group else ())}
            if name in self._waiting:
                slots = len(self.features.plans[name].slots)
                blocks[name] = [values[f"{_PLACE}{slot}"].to_numpy() for slot in range(slots)]
        for entities in self.features.groups:
            if len(entities) > 1:
                found = self._evaluated(entities, base, [np.stack(blocks[name]) for name in entities])
                columns |= {name: pl.Series(value) for name, value in found.items()}
        return base.with_columns(**columns).select(*names, *self.features.names)

    def output_schema(self) -> dict[str, pl.DataType]:
        """Columns of a chunk."""
        names = [*carried_columns(self.features.contract), "event_date", "known_at"]
        return {name: self._schema[name] for name in names} | dict.fromkeys(self.features.names, pl.Float32())

    # -- what several steps need

    def _evaluated(
        self, entities: tuple[str, ...], rows: pl.DataFrame, blocks: Sequence[np.ndarray]
    ) -> dict[str, Floats]:
        group = self.features.groups.get(entities)
        if group is None:
            return {}
        frame = Frame(rows)
        inputs = {source: frame.column(source) for source in group.program.inputs}
        return evaluate_group(group, inputs, blocks, np.arange(rows.height, dtype=np.int64))

    def _entity_columns(self, name: str) -> list[str]:
        return entity_columns(self.features, self._schema, name)

    def _folding_bytes(self, name: str) -> int:
        """About what an event takes while its part is folded: its columns twice, integers, and all that is answered."""
        plan = self.features.plans[name]
        integers = 2 * len(entity_inputs(self.features, name)) + 2 * len(plan.slots) + 16
        return 2 * row_bytes(self._schema, self._entity_columns(name)) + 8 * integers

    def _parts(self, rows: int, bytes_each: int) -> int:
        return max(1, -(-rows * bytes_each // self._memory))

    def _spill(self, name: str) -> Spill:
        return Spill(self._folder / name, min(self._memory // 16, 64 << 20))


def _hashed(field: str, seed: int, parts: int) -> pl.Expr:
    return (pl.col(field).cast(pl.String).hash(seed=seed) % parts).cast(pl.Int32)


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    yield from rows.collect_batches(
        chunk_size=_BATCH_ROWS, maintain_order=True, lazy=True, engine="streaming"
    )
