"""From the lake to the shelves of a fold: each payment once, by its id and by each of its entities, and the labels that count.

The same rows as `fraud_assets.lake.read_history` gives, without ever holding them all: payments and labels are put away by the
payment's id, so that copies and labels meet in a part; from there payments go on to their entities.

A build of features puts away by id too (fraud_assets/features/by_id.py), and the two stay apart: there a payment goes on to one pass
over its entities, as integers and with its turn, from a snapshot perhaps; here its rows and labels stay on shelves as the lake has them,
to be found again by key, in the order of their rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable

from fraud_assets.features.spill import PART, Room, Spill
from fraud_assets.lake import DECISIONS, Lake, read_labels
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_assets.online_state.build import OnStep
from fraud_assets.online_state.shelf import Shelf, share
from fraud_core.contracts import Contracts
from fraud_core.features import FeatureSet
from fraud_core.features.labels import TOLD_ORDER
from fraud_core.features.offline import entity_inputs

ORIGIN: Final = ("known_at", "_stream", "_shard", "_incarnation", "_offset", "_index", "_epoch")
_BATCH_ROWS: Final = 50_000
_DIGEST_SEED: Final = 13
_TEXT_BYTES: Final = 48
_NUMBER_BYTES: Final = 8
_ROW_BYTES: Final = 256
"""About what is decoded of a payment."""


@dataclass(frozen=True)
class Gathered:
    """What the lake held at one moment."""

    payments: Shelf
    """By event id: where the row came from, and the payment's entities."""
    entities: dict[str, Shelf]
    """By the entity's id: what its fold reads of each payment."""
    labels: Shelf
    """By event id: every label of the payments labelled since `known_from`."""
    newest_ms: int
    """When the newest payment became known."""


def needed_columns(features: FeatureSet, entity: str | None = None) -> list[str]:
    """The columns of the lake that a fold reads: of one kind of entity, or of all."""
    contract = features.contract
    fields = features.program.inputs if entity is None else entity_inputs(features, entity)
    kinds = list(features.plans) if entity is None else [entity]
    named = [contract.event_id, contract.event_time, *[source.field for source in fields]]
    named += [features.plans[name].rule.field for name in kinds] + list(ORIGIN)
    return list(dict.fromkeys([*named, *[f"_seq_{name}" for name in kinds]]))


def parts_for(features: FeatureSet, schema: pl.Schema, rows: int, memory: int) -> int:
    """Into how many parts the entities of each kind are cut, so that one can be folded within so many bytes.

    An event takes its columns twice while it is folded, and integers; an entity is never divided.
    """
    each = 0
    for name, plan in features.plans.items():
        columns = [column for column in needed_columns(features, name) if column in schema]
        integers = 2 * len(entity_inputs(features, name)) + 2 * len(plan.slots) + 16
        each = max(each, 2 * _row_bytes(schema, columns) + 8 * integers)
    return max(1, -(-rows * each // memory))


def gather(  # noqa: PLR0917
    lake: Lake,
    contracts: Contracts,
    features: FeatureSet,
    known_from: datetime,
    within: pl.Expr,
    parts: int,
    room: Room,
    folder: Path,
    on_step: OnStep,
) -> Gathered:
    """Put payments known since `known_from` and `within`, and older ones labelled since, on shelves of `parts` parts."""
    return _Gathering(
        lake, contracts, features, known_from, within, parts, room.memory // 4, folder, on_step
    ).run()


class _Gathering:
    def __init__(  # noqa: PLR0917
        self,
        lake: Lake,
        contracts: Contracts,
        features: FeatureSet,
        known_from: datetime,
        within: pl.Expr,
        parts: int,
        buffer: int,
        folder: Path,
        on_step: OnStep,
    ) -> None:
        table = lake.table(TRANSACTIONS)
        self._payments, self._labels = lake.scan(table), read_labels(lake, contracts)
        self._stretches = _stretches(table, max(_BATCH_ROWS, buffer // 4 // _ROW_BYTES))
        self._schema = self._payments.collect_schema()
        self._features, self._id = features, contracts.transactions.event_id
        self._known_from, self._within = known_from, within
        self._parts, self._on_step = parts, on_step
        buffer //= len(features.plans) + 5
        self._waiting, self._decided = Spill(folder / "payments", buffer), Spill(folder / "decided", buffer)
        self._labelled = Spill(folder / "labelled", buffer)
        fields = {name: plan.rule.field for name, plan in features.plans.items()}
        self._found = Gathered(
            Shelf(folder / "by-id", self._id, parts, buffer),
            {name: Shelf(folder / f"by-{name}", field, parts, buffer) for name, field in fields.items()},
            Shelf(folder / "labels", self._id, parts, buffer),
            0,
        )
        self._fields = list(dict.fromkeys(fields.values()))

    def run(self) -> Gathered:
        self._put_away()
        newest_ms = 0
        for part in range(self._parts):
            self._on_step("sort by entity", part, self._parts)
            newest_ms = max(newest_ms, self._settle(part))
        shelves = [self._found.payments, self._found.labels, *self._found.entities.values()]
        for shelf in shelves:
            shelf.close()
        self._on_step("sort by entity", self._parts, self._parts)
        return Gathered(self._found.payments, self._found.entities, self._found.labels, newest_ms)

    def _put_away(self) -> None:
        part, recent = share(self._id, self._parts).alias(PART), pl.col("known_at") >= self._known_from
        digest = pl.col(self._id).cast(pl.String).hash(seed=_DIGEST_SEED)
        since = (
            self._labels.filter(recent)
            .select(digest.alias("digest"), "event_date")
            .collect(engine="streaming")
        )
        digests, first = since["digest"].unique(), since["event_date"].min()
        chosen = recent
        if first is not None:  # which of them really are labelled since: see _settle
            chosen |= (pl.col("event_date") >= first) & digest.is_in(digests.implode())
        chosen = (chosen & self._within).fill_null(value=False)
        columns = [name for name in needed_columns(self._features) if name in self._schema]
        for place, days in enumerate(self._stretches):
            self._on_step("read the lake", place, len(self._stretches))
            payments = self._payments.filter(pl.col("event_date").is_between(*days))
            for batch in _batches(payments.filter(chosen).select(*columns, part)):
                self._waiting.add(batch)
            decided = payments.filter(~chosen & (pl.col("_stream") == DECISIONS))
            for batch in _batches(decided.select(self._id, part)):
                self._decided.add(batch)
        self._on_step("read the lake", len(self._stretches), len(self._stretches))
        labels = self._labels.filter(digest.is_in(digests.implode()))
        for batch in _batches(labels.select(self._id, "is_fraud", *TOLD_ORDER, part)):
            self._labelled.add(batch)
        # So that a shelf on which nothing comes to stand knows its columns.
        nothing = pl.DataFrame(schema={name: self._schema[name] for name in columns})
        self._shelve(nothing)
        self._found.labels.add(labels.select(self._id, "is_fraud", *TOLD_ORDER).head(0).collect())

    def _settle(self, part: int) -> int:
        """Clear a part of copies and pass it on; returns when its newest payment became known."""
        rows, labels, decided = self._waiting.take(part), self._labelled.take(part), self._decided.take(part)
        recent = pl.col("known_at") >= self._known_from
        since = None
        if labels is not None:
            since = labels.filter(recent).select(self._id).unique()
            self._found.labels.add(labels.join(since, on=self._id, how="semi"))
        if rows is None:
            return 0
        is_decision = pl.col("_stream") == DECISIONS
        ids = rows.filter(is_decision).select(self._id)
        if decided is not None:
            ids = pl.concat([ids, decided])
        sent = rows.filter(~is_decision).join(ids, on=self._id, how="anti", maintain_order="left")
        rows = pl.concat([sent, rows.filter(is_decision)])
        older = rows.filter(~recent)
        older = (
            older.clear()
            if since is None
            else older.join(since, on=self._id, how="semi", maintain_order="left")
        )
        rows = pl.concat([older, rows.filter(recent)])
        self._shelve(rows)
        return int(rows["known_at"].dt.epoch("ms").to_numpy().max(initial=0))

    def _shelve(self, rows: pl.DataFrame) -> None:
        self._found.payments.add(rows.select(*dict.fromkeys([self._id, "_stream", *self._fields])))
        for name, shelf in self._found.entities.items():
            shelf.add(
                rows.select(
                    [column for column in needed_columns(self._features, name) if column in rows.columns]
                )
            )


def _stretches(table: DeltaTable, most: int) -> list[tuple[date, date]]:
    """Stretches of event dates with at most so many rows each, or of one day: a reader takes in many files at a time, so whoever
    reads all days at once holds more, the more there are."""
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    if files.is_empty():
        return []
    days = (
        files.group_by(pl.col("partition.event_date").cast(pl.Date).alias("day"))
        .agg(pl.col("num_records").sum())
        .sort("day")
    )
    found: list[tuple[date, date]] = []
    held = 0
    for day, rows in days.iter_rows():
        if found and held + rows <= most:
            found[-1], held = (found[-1][0], day), held + rows
        else:
            found, held = [*found, (day, day)], rows
    return found


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    yield from rows.collect_batches(
        chunk_size=_BATCH_ROWS, maintain_order=True, lazy=True, engine="streaming"
    )


def _row_bytes(schema: pl.Schema, columns: list[str]) -> int:
    return sum(_TEXT_BYTES if schema[name] == pl.String else _NUMBER_BYTES for name in columns)
