"""Compute the features of a range of event dates and replace those partitions.

A value depends only on events that arrived up to its own, so a range can be computed again at any time with the same
result; partitions outside the range are never touched.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from itertools import islice
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from fraud_assets.features.reading import (
    Reading,
    ahead_of,
    carried_columns,
    direct_bytes,
    events_since,
    needed_columns,
    reading_of,
)
from fraud_assets.features.snapshots import Cut, Keeper, Snapshot, new_cut, usable
from fraud_assets.features.spill import AMPLE, Room
from fraud_assets.features.streamed import Sources, StreamedFeatures
from fraud_assets.lake import Lake, read_history, read_labels
from fraud_assets.lake.lake import schema_of
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_core.contracts import Contract, Contracts
from fraud_core.errors import CommitRefused, FeatureError, LakeError, StartRefused
from fraud_core.features import FeatureSet, compute_offline

_LOG = logging.getLogger(__name__)

FEATURES = "features"
_ATTEMPTS = 3
_BUILT: dict[str, pl.DataType] = {
    "event_date": pl.Date(),
    "known_at": pl.Datetime("us", "UTC"),
    "feature_set_hash": pl.String(),
}


@dataclass(frozen=True)
class FeatureBuild:
    """What one build wrote: rows per event date, and how many events were folded to reach them."""

    rows: dict[date, int]
    folded: int
    read_from: datetime
    start: datetime | None = None
    """Cut of the snapshot that it went on from; None: from the history."""
    refused: str = ""
    """Why it did not go on from the newest snapshot."""
    kept: datetime | None = None
    """Cut of the snapshot that it left."""


def feature_table_schema(contract: Contract, features: FeatureSet) -> dict[str, pl.DataType]:
    """Columns of the table: identity, time, entities and amount as they came, then one Float32 per feature."""
    schema = contract.polars_schema()
    carried = {name: schema[name] for name in carried_columns(contract)}
    taken = sorted({*carried, *_BUILT} & set(features.names))
    if taken:
        raise FeatureError(
            f"{contract.path}: the feature table holds {', '.join(taken)} as it came, so no feature can have that name. "
            "Rename the feature."
        )
    return carried | _BUILT | {name: pl.Float32() for name in features.names}


def build_features(  # noqa: PLR0917
    lake: Lake, contracts: Contracts, features: FeatureSet, first: date, last: date, room: Room = AMPLE
) -> FeatureBuild:
    """Replace the partitions `first`..`last` (event dates, inclusive) of the feature table.

    Everything known since `first` minus the feature set's horizon is folded, so that windows are full at `first`, up to
    what was known when the range's last event was: later events change no value of the range. What does not fit into `room` is
    streamed, with the same result; then days are committed one after another, or several small ones together. Then a
    snapshot of the history that an earlier build left is gone on from where it holds, with the same result, and a snapshot is left. Values that another
    build wrote meanwhile may rest on more than this one had read, so they are never overwritten: this one is done again, and
    raises CommitRefused when that keeps happening. Raises FeatureError when the temporary folder is full.
    """
    schema = feature_table_schema(contracts.transactions, features)
    for attempt in range(1, _ATTEMPTS + 1):
        # Before anything is read. A feature that is no longer declared keeps its column, for the rows that have it.
        table = lake.create(FEATURES, schema, partition_by=["event_date"], keep_columns=True)
        try:
            return _build(lake, contracts, features, (first, last), room, table)
        except CommitRefused as error:
            _LOG.warning(
                "features of %s to %s changed while computed, attempt %d: %s", first, last, attempt, error
            )
    raise CommitRefused(
        f"The features of {first} to {last} were computed {_ATTEMPTS} times, and each time another writer changed these "
        "partitions meanwhile. Nothing was overwritten; compute them again when no other build of these dates runs."
    )


def _build(  # noqa: PLR0917
    lake: Lake,
    contracts: Contracts,
    features: FeatureSet,
    days: tuple[date, date],
    room: Room,
    table: DeltaTable,
) -> FeatureBuild:
    payments = lake.table(TRANSACTIONS)
    reading = reading_of(lake, contracts, features, *days, payments)
    about = events_since(payments, reading.known_from.date())
    each = direct_bytes(features, lake.scan(payments).collect_schema())
    if about * each <= room.memory:
        build, rows = _at_once(lake, contracts, features, reading)
        _replace(lake, features, table, days, iter([rows]))
        return build
    job = _Job(lake, contracts, features, reading, room.memory, payments, table)
    if not room.snapshots:
        with room.folder() as folder:
            return _streamed(job, folder)
    before = datetime.combine(days[0], time(), UTC) - ahead_of(contracts)
    try:
        with room.folder() as folder:
            start = usable(lake, features, reading, before, payments, folder / "start")
            return _streamed(job, folder, start, keep=True)
    except StartRefused as error:
        refused = str(error)
        _LOG.warning("features of %s to %s are built from the history: %s", *days, refused)
    with room.folder() as folder:
        return replace(_streamed(job, folder, keep=True), refused=refused)


@dataclass(frozen=True)
class _Job:
    lake: Lake
    contracts: Contracts
    features: FeatureSet
    reading: Reading
    memory: int
    payments: DeltaTable
    table: DeltaTable


def _streamed(job: _Job, folder: Path, start: Snapshot | None = None, *, keep: bool = False) -> FeatureBuild:
    lake, features, reading = job.lake, job.features, job.reading
    sources = _sources(lake, job.contracts, reading, job.payments, start)
    cut = _cut(job, sources, start) if keep else None
    keeper = Keeper(cut, folder / "kept") if cut else None
    streamed = StreamedFeatures(features, reading, sources, job.memory, folder, start, keeper)
    streamed.prepare()  # whether the snapshot holds is known before anything is replaced
    counts: Counter[date] = Counter()
    chunks = streamed.chunk_frames()
    for block in streamed.chunks.blocks:
        mine = _counted(islice(chunks, len(block.chunks)), counts)
        # Each time as of before anything was read, so that what others wrote since is noticed.
        _replace(lake, features, lake.as_of(job.table), (block.first, block.last), mine)
    kept = None
    if keeper:
        try:
            keeper.commit(lake, features, job.payments, reading, streamed.parts)
            kept = keeper.cut.before
        except LakeError as error:  # it is there to save work: the features are what counts
            _LOG.warning("no snapshot of features was kept: %s", error)
    went_on = start.cut.before if start else None
    return FeatureBuild(dict(sorted(counts.items())), streamed.folded, reading.known_from, went_on, kept=kept)


def _cut(job: _Job, sources: Sources, start: Snapshot | None) -> Cut | None:
    """That of the range's newest day with payments, if the snapshot gone on from is an earlier one's."""
    if not sources.per_day:
        return None
    before = datetime.combine(max(sources.per_day), time(), UTC) - ahead_of(job.contracts)
    known_to = job.reading.known_to
    if known_to is None or known_to < before or (start and start.cut.before >= before):
        return None
    return new_cut(job.lake, job.payments, before)


def _counted(frames: Iterator[pl.DataFrame], counts: Counter[date]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        counts.update(dict(frame.group_by("event_date").len().iter_rows()))
        yield frame


def _replace(
    lake: Lake,
    features: FeatureSet,
    table: DeltaTable,
    days: tuple[date, date],
    frames: Iterator[pl.DataFrame],
) -> None:
    schema = feature_table_schema(features.contract, features)
    columns = [*schema, *_undeclared(schema_of(table), schema)]
    hashed = pl.lit(features.hash).alias("feature_set_hash")
    whole = (frame.with_columns(hashed).select(columns) for frame in frames)
    predicate = f"event_date >= '{days[0]}' AND event_date <= '{days[1]}'"
    lake.replace(FEATURES, whole, predicate, table=table)


def _sources(
    lake: Lake, contracts: Contracts, reading: Reading, payments: DeltaTable, start: Snapshot | None
) -> Sources:
    rows = lake.scan(payments)
    folded = rows.filter((pl.col("known_at") >= reading.known_from) & reading.within)
    if start:
        folded = folded.filter(~start.cut.rows)
    count = folded.select(pl.len()).collect(engine="streaming").item()
    per_day = rows.filter(reading.of_range).group_by("event_date").len().collect(engine="streaming")
    return Sources(rows, read_labels(lake, contracts), count, dict(per_day.iter_rows()))


def _undeclared(held: pl.Schema, schema: dict[str, pl.DataType]) -> list[pl.Expr]:
    """Columns of features that are gone from the declaration, without a value."""
    return [pl.lit(None, dtype).alias(name) for name, dtype in held.items() if name not in schema]


def _at_once(
    lake: Lake, contracts: Contracts, features: FeatureSet, reading: Reading
) -> tuple[FeatureBuild, pl.DataFrame]:
    """The rows of the range with everything in memory, and what was read for them."""
    contract = contracts.transactions
    schema = lake.scan(TRANSACTIONS).collect_schema()
    events, labels = read_history(
        lake, contracts, reading.known_from, reading.within, needed_columns(features, schema)
    )
    mine = events.select(reading.of_range.fill_null(value=False)).to_series()
    values = compute_offline(features, events, labels, reading.epochs, mine)
    kept = events.filter(mine).select(*carried_columns(contract), "event_date", "known_at")
    rows = pl.concat([kept, values.select(features.names)], how="horizontal")
    counts = rows.group_by("event_date").len().sort("event_date")
    return FeatureBuild(dict(counts.iter_rows()), len(events), reading.known_from), rows
