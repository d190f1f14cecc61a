"""Which days a late event concerns: its features belong to the day it happened on, not to the day it came."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import polars as pl

from fraud_assets.lake import DECISIONS, LEDGER, Lake
from fraud_assets.lake.schemas import TRANSACTIONS


def days_known_since(lake: Lake, since: datetime) -> set[date]:
    """The event dates of payments that became known at or after `since`.

    Also of those that had come before and reached the lake only after: while nobody ingested, nobody computed features. Of
    them, all days between the first and the last of a plan. A past that was put on the log since then is not meant: its
    features are a back-fill.
    """
    if not lake.exists(TRANSACTIONS):
        return set()
    recent = lake.scan(TRANSACTIONS).filter(pl.col("known_at") >= since)
    days = set(recent.select(pl.col("event_date").unique()).collect(engine="streaming")["event_date"])
    waited = lake.scan(LEDGER).filter(
        pl.col("stream").is_in([TRANSACTIONS, DECISIONS]),
        pl.col("committed_at") >= since,
        pl.col("first_append_at") < since,
    )
    spans = waited.select(
        first=pl.col("first_event_at").dt.date(), last=pl.col("last_event_at").dt.date()
    ).drop_nulls()
    for first, last in spans.unique().collect().iter_rows():
        days.update(first + timedelta(days=each) for each in range((last - first).days + 1))
    return days


def stretches(days: Iterable[date], apart: timedelta) -> list[tuple[date, date]]:
    """First and last of the days that belong together: no gap among them is longer than `apart`. In order of time."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and day - found[-1][1] <= apart:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
