"""What a report is about: the batches of a table that were judged within a span of time, and so their rows.

Judged, not known: a replay brings events whose virtual times lie months back, and its report belongs to the hour in which
they were refused. The batches' ranges of offsets, from `data_quality`, say which rows those are.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from fraud_assets.lake import Lake, rows_of
from fraud_assets.quality.results import ANY, read_results
from fraud_core.log import Shard

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """A span [since, until) of the time of judgement; without bounds it is everything."""

    words: str
    folder: str
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def hour(cls, at: datetime) -> "Period":
        """The full hour that holds `at`."""
        since = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        words = f"{since:%Y-%m-%d %H:%M} to {since + HOUR:%H:%M} UTC"
        return cls(words, f"{since:%Y-%m-%dT%H}", since, since + HOUR)

    @classmethod
    def day(cls, at: datetime) -> "Period":
        """The day in UTC that holds `at`."""
        since = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(f"{since:%Y-%m-%d}", f"{since:%Y-%m-%d}", since, since + DAY)

    @classmethod
    def days_before(cls, now: datetime, days: int) -> "Period":
        """So many days up to `now`; 0: everything up to `now`."""
        folder = f"{now:%Y-%m-%dT%H%M%SZ}"
        if days == 0:
            return cls("all rows", folder)
        words = "the last day" if days == 1 else f"the last {days} days"
        return cls(words, folder, now - timedelta(days=days), now)

    def holds(self, column: str) -> pl.Expr:
        """Where the instants of a column lie within."""
        bounds = [pl.lit(True)]
        if self.since is not None:
            bounds.append(pl.col(column) >= self.since)
        if self.until is not None:
            bounds.append(pl.col(column) < self.until)
        return pl.all_horizontal(bounds)


def hours_with_violations(lake: Lake, stream: str, since: datetime, until: datetime) -> list[datetime]:
    """The full hours within [since, until) in which events of a stream were refused, the oldest first."""
    found = (
        read_results(lake)
        .filter(pl.col("stream") == stream, pl.col("code") == ANY, pl.col("failed") > 0)
        .filter(pl.col("judged_at") >= since, pl.col("judged_at") < until)
        .select(pl.col("judged_at").dt.truncate("1h").unique())
        .collect()
    )
    return sorted(found.to_series().to_list())


def last_judged(lake: Lake, *streams: str) -> datetime | None:
    """When the last batch of these streams was judged; None before the first."""
    judged = read_results(lake).filter(pl.col("stream").is_in(streams)).select(pl.col("judged_at").max())
    last: datetime | None = judged.collect().item()
    return last


def rows_judged(lake: Lake, period: Period, *streams: str) -> pl.Expr:
    """The rows of tables and quarantines that came with the batches of `streams` judged within the period."""
    mine = pl.col("_stream").is_in(streams)
    if period.since is None and period.until is None:
        return mine
    batches = (
        read_results(lake)
        .filter(pl.col("stream").is_in(streams), pl.col("code") == ANY, period.holds("judged_at"))
        .select("stream", "shard", "incarnation", "start", "end")
        .collect()
        .sort("stream", "shard", "incarnation", "end")
    )
    spans: list[tuple[Shard, int, int]] = []
    for stream, number, incarnation, start, end in batches.iter_rows():
        shard = Shard(stream, number, incarnation)
        if spans and spans[-1][0] == shard and spans[-1][2] == start:
            spans[-1] = (shard, spans[-1][1], end)
        else:
            spans.append((shard, start, end))
    offset = pl.col("_offset")
    if not spans:
        return pl.lit(False)
    return pl.any_horizontal(
        rows_of(shard) & (offset > start) & (offset <= end) for shard, start, end in spans
    )
