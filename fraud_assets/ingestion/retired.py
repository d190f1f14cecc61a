"""Retention that keeps the proof: rows that became too old leave their table, what they counted stays in `retired`.

A day of a table goes in one commit, whose application version names the pass that counted it; a pass whose commit never
came counts for nothing. So an interruption anywhere leaves either the rows or their counts, never both and never neither.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from fraud_assets.ingestion.ledger import ledger_rows
from fraud_assets.lake import LEDGER, Lake
from fraud_assets.lake.lake import schema_of
from fraud_assets.lake.schemas import UTC_MICROSECONDS
from fraud_core.errors import CommitRefused, LakeError
from fraud_core.log import Shard, id_hash_sum

RETIRED: Final = "retired"
SCHEMA: Final[dict[str, pl.DataType]] = {
    "pass_id": pl.String(),
    "table": pl.String(),
    "stream": pl.String(),
    "shard": pl.Int32(),
    "incarnation": pl.String(),
    "end": pl.Int64(),
    "rows": pl.Int64(),
    "replayed": pl.Int64(),
    "ids": pl.Int64(),
    "id_hash_sum": pl.String(),
    "retired_at": UTC_MICROSECONDS,
}
_ATTEMPTS: Final = 20
_JOINED_EVENTS: Final = 200_000
"""Most events of a joined row of the ledger: as many as a plan holds, so that whoever reads by rows holds no more at once."""
_SHARD: Final = ("_stream", "_shard", "_incarnation")


@dataclass(frozen=True)
class Retired:
    """Rows of a shard that retention removed from a table, by the ranges of the ledger."""

    ends: np.ndarray
    rows: np.ndarray
    replayed: int = 0
    ids: int = 0
    id_hash_sum: int = 0


def retire_old_days(
    lake: Lake,
    name: str,
    *,
    day: str,
    event_id: str,
    keep_days: int,
    aged_by: str | None = None,
    now: datetime | None = None,
) -> int:
    """Remove the days of a partitioned table that lie more than `keep_days` back; returns how many rows went.

    `day` is the partition column. With `aged_by`, a time of each row, a day goes only when its newest row is old enough:
    a history that was ingested yesterday is not old. Rows of plans that are not finished yet stay.
    """
    moment = now or datetime.now(UTC)
    cutoff = moment - timedelta(days=keep_days)
    removed = 0
    for old in _old_days(lake, name, day, cutoff.date()):
        for _ in range(_ATTEMPTS):
            try:
                removed += _retire_day(
                    lake, name, day, old, event_id=event_id, aged_by=aged_by, cutoff=cutoff
                )
                break
            except CommitFailedError:
                continue  # somebody committed in between: count anew
    return removed


def retired_rows(lake: Lake, table: DeltaTable, name: str, shard: Shard, *, after: int, upto: int) -> Retired:
    """What retention removed of a shard's ranges in (after, upto], as this handle of the table knows it."""
    if not lake.exists(RETIRED):
        return Retired(np.empty(0, np.int64), np.empty(0, np.int64))
    found = (
        lake.scan(RETIRED)
        .filter(
            pl.col("table") == name,
            pl.col("stream") == shard.stream,
            pl.col("shard") == shard.number,
            pl.col("incarnation") == shard.incarnation,
            pl.col("end") > after,
            pl.col("end") <= upto,
        )
        .collect()
    )
    done = [
        each for each in found["pass_id"].unique() if table.transaction_version(_app_id(each)) is not None
    ]
    found = found.filter(pl.col("pass_id").is_in(done))
    return Retired(
        found["end"].to_numpy(),
        found["rows"].to_numpy(),
        int(found["replayed"].sum()),
        int(found["ids"].sum()),
        sum(int(each, 16) for each in found["id_hash_sum"]) & ((1 << 64) - 1),
    )


def join_old_ranges(lake: Lake, keep_days: int, now: datetime | None = None) -> tuple[int, int]:
    """Join neighbouring rows of the ledger that are older than `keep_days`; ranges and counts stay what they were.

    Returns how many rows there were and how many there are. Does nothing where it would not halve them.
    """
    cutoff = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    for _ in range(_ATTEMPTS):
        table = lake.table(LEDGER)
        if "plans" not in schema_of(table):
            return 0, 0  # nothing was ingested since this was added; the next ingest run adds it
        every = lake.scan(table).collect()
        old = every.filter(pl.col("committed_at") < cutoff)
        joined = _joined(old)
        if joined.height > old.height // 2:
            return every.height, every.height
        try:
            lake.replace(
                LEDGER,
                joined.select(schema_of(table).names()),
                f"committed_at < '{cutoff.isoformat()}'",
                table=table,
            )
        except CommitRefused:
            continue
        return every.height, every.height - old.height + joined.height
    return every.height, every.height


def _old_days(lake: Lake, name: str, day: str, before: date) -> Iterator[date]:
    values = {each[day] for each in lake.table(name).partitions()}
    days = sorted(date.fromisoformat(value) if isinstance(value, str) else value for value in values if value)
    yield from (each for each in days if each < before)


def _retire_day(
    lake: Lake, name: str, day: str, old: date, *, event_id: str, aged_by: str | None, cutoff: datetime
) -> int:
    table = lake.table(name)
    rows = (
        lake.scan(table)
        .filter(pl.col(day) == old)
        .select(
            *_SHARD,
            "_offset",
            "_replay_of",
            pl.col(event_id).alias("id"),
            *([pl.col(aged_by).alias("_aged")] if aged_by else []),
        )
        .collect()
    )
    if rows.is_empty() or (aged_by and rows["_aged"].max() >= cutoff):  # type: ignore[operator]  # of a column of numbers
        return 0
    counted = _counted(lake, name, rows)
    if counted is None:
        return 0
    pass_id = uuid.uuid4().hex
    records = lake.create(RETIRED, SCHEMA)
    lake.append(records, counted.with_columns(pl.lit(pass_id).alias("pass_id")).select(*SCHEMA))
    try:
        table.delete(
            f"{day} = '{old.isoformat()}'",
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_app_id(pass_id), 1)], max_commit_retries=0
            ),
        )
    except CommitFailedError:
        # A store that did it and whose answer got lost is asked again, and refuses what is there already: its own commit.
        if lake.committed(lake.table(name), _app_id(pass_id)):
            return rows.height
        lake.table(RETIRED).delete(f"pass_id = '{pass_id}'")
        raise
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"Retention of {name} failed on {old}: {error}. No row of it is lost or miscounted."
        ) from error
    return rows.height


def _counted(lake: Lake, name: str, rows: pl.DataFrame) -> pl.DataFrame | None:
    """Counts by range of the ledger; None where a row belongs to no finished range yet."""
    parts: list[dict[str, object]] = []
    now = datetime.now(UTC)
    for (stream, number, life), mine in rows.group_by(_SHARD, maintain_order=True):
        ranges = ledger_rows(lake, str(stream), int(number)).filter(pl.col("incarnation") == life)
        if ranges.is_empty() or mine["_offset"].max() > ranges["end"].max():  # type: ignore[operator]  # of a column of numbers
            return None
        ends = ranges["end"].to_numpy()
        at = ends[np.searchsorted(ends, mine["_offset"].to_numpy())]
        for (end,), part in mine.with_columns(pl.Series("_end", at)).group_by(["_end"], maintain_order=True):
            sent = part.filter(pl.col("_replay_of").is_null())["id"].drop_nulls()
            parts.append(
                {
                    "table": name,
                    "stream": stream,
                    "shard": number,
                    "incarnation": life,
                    "end": end,
                    "rows": part.height,
                    "replayed": part.height - int(part["_replay_of"].null_count()),
                    "ids": len(sent),
                    "id_hash_sum": f"{id_hash_sum(sent.to_list()):016x}",
                    "retired_at": now,
                }
            )
    return pl.DataFrame(parts, schema={name: dtype for name, dtype in SCHEMA.items() if name != "pass_id"})


def _joined(old: pl.DataFrame) -> pl.DataFrame:
    place = ["stream", "shard", "incarnation"]
    if old.is_empty():
        return old
    ordered = old.sort(*place, "end").with_columns(
        ((pl.col("events").cum_sum().over(place) - 1) // _JOINED_EVENTS).alias("_part"),
        # A range that does not join its neighbour is a fault that must stay visible.
        (pl.col("start") != pl.col("end").shift(1).over(place))
        .fill_null(True)
        .cum_sum()
        .over(place)
        .alias("_run"),
    )
    totals = ("entries", "events", "valid", "duplicates", "violations")
    return ordered.group_by(*place, "_part", "_run", maintain_order=True).agg(
        pl.col("start").min(),
        pl.col("end").max(),
        *(pl.col(name).sum() for name in totals),
        pl.col("plans").fill_null(1).sum(),
        pl.col("contract_version").last(),
        *(pl.col(name).min() for name in ("first_append_at", "first_event_at")),
        *(pl.col(name).max() for name in ("last_append_at", "last_event_at", "committed_at")),
    )


def _app_id(pass_id: str) -> str:
    return f"retired/{pass_id}"
