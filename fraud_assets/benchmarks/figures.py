"""Figures from what the tables themselves say: rates from the ledger, the age of events from their offsets."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from fraud_assets.ingestion.ledger import ledger_rows
from fraud_assets.lake import Lake
from fraud_core.log.redis_ids import SEQ_BITS

_STREAM = "transactions"


@dataclass(frozen=True)
class Span:
    """Plans in a row and the time they took, in Unix seconds; see `span` and `span_from` for which events count."""

    events: int
    begin: float
    end: float
    plans: int

    @property
    def events_per_s(self) -> float:
        """Events per second; 0 when there were too few plans to tell."""
        return self.events / (self.end - self.begin) if self.end > self.begin else 0.0


def span(lake: Lake, since: float) -> Span:
    """The plans that were committed after a Unix time, at which a backlog stood ready."""
    rows = _commits(lake, since)
    if rows.height < 2:
        return Span(0, since, since, rows.height)
    return Span(int(rows["events"][1:].sum()), rows["committed_at"][0], rows["committed_at"][-1], rows.height)


def span_from(lake: Lake, since: float) -> Span:
    """The same where events began to come only then: all of them count, and the time from then on, waiting included."""
    rows = _commits(lake, since)
    if not rows.height:
        return Span(0, since, since, 0)
    return Span(int(rows["events"].sum()), since, rows["committed_at"][-1], rows.height)


def _commits(lake: Lake, since: float) -> pl.DataFrame:
    rows = ledger_rows(lake, _STREAM).select("events", pl.col("committed_at").dt.timestamp("us") / 1e6)
    return rows.filter(pl.col("committed_at") > since).sort("committed_at")


def ages_s(lake: Lake, after: int) -> tuple[float, float, float]:
    """Median, 95th percentile and maximum of the seconds from append to commit, of all events after an offset."""
    ledger = ledger_rows(lake, _STREAM).sort("end")
    ends = ledger["end"].to_numpy()
    committed_ms = ledger["committed_at"].dt.timestamp("ms").to_numpy()
    offsets = (
        lake.scan(_STREAM).filter(pl.col("_offset") > after).select("_offset").collect()["_offset"].to_numpy()
    )
    ages = (committed_ms[np.searchsorted(ends, offsets)] - (offsets >> SEQ_BITS)) / 1000
    median, high, most = np.percentile(ages, [50, 95, 100])
    return float(median), float(high), float(most)


def today() -> str:
    """The date, for a table of figures."""
    return datetime.now(UTC).date().isoformat()
