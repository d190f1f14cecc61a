"""The ledger: one row per finished plan, with its range and counts. Its ranges must join without gap or overlap."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import polars as pl

from fraud_assets.lake import LEDGER, Lake


@dataclass(frozen=True)
class LedgerRow:
    """One plan that reached every table."""

    stream: str
    shard: int
    incarnation: str
    start: int
    end: int
    entries: int
    events: int
    valid: int
    duplicates: int
    violations: int
    contract_version: str
    first_append_at: datetime | None
    last_append_at: datetime | None
    committed_at: datetime
    first_event_at: datetime | None = None
    """Span of the event times of its valid events."""
    last_event_at: datetime | None = None
    plans: int = 1
    """How many plans the row stands for; upkeep joins old ones. Null in rows from before it did: one."""

    def frame(self, schema: pl.Schema) -> pl.DataFrame:
        """The row as the table holds it."""
        return pl.DataFrame([asdict(self)], schema=schema)


def instant(ms: int) -> datetime:
    """A time in ms since 1970 as a datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


def ledger_rows(lake: Lake, stream: str | None = None, shard: int | None = None) -> pl.DataFrame:
    """The ledger of a stream or shard, the oldest incarnation first, each in the order of its ranges."""
    rows = lake.scan(LEDGER)
    if stream is not None:
        rows = rows.filter(pl.col("stream") == stream)
    if shard is not None:
        rows = rows.filter(pl.col("shard") == shard)
    place = ["stream", "shard"]
    return (
        rows.collect()
        .with_columns(pl.col("committed_at").min().over(*place, "incarnation").alias("_life"))
        .sort(*place, "_life", "incarnation", "end")
        .drop("_life")
    )


def breaks(ranges: pl.DataFrame) -> list[str]:
    """Where the ranges of the ledger (as `ledger_rows` gives them) do not join; empty when all is well."""
    problems: list[str] = []
    for (stream, shard, incarnation), part in ranges.group_by(
        ["stream", "shard", "incarnation"], maintain_order=True
    ):
        following = 0
        for start, end in part.select("start", "end").iter_rows():
            if start != following:
                what = "a gap" if start > following else "an overlap"
                problems.append(f"{stream}/{shard} ({incarnation}): {what} between {following} and {start}")
            following = max(following, end)
    return problems
