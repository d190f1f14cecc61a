"""Which days a late event concerns: its features belong to the day it happened on, not to the day it came."""

from datetime import date, datetime

import polars as pl

from fraud_assets.lake import DECISIONS, LEDGER, Lake
from fraud_assets.lake.schemas import TRANSACTIONS


def earliest_day_known_since(lake: Lake, since: datetime) -> date | None:
    """The earliest event date among payments that became known at or after `since`; None when there are none.

    Also among those that had come before and reached the lake only after: while nobody ingested, nobody computed features.
    A past that was put on the log since then is not meant: its features are a back-fill.
    """
    if not lake.exists(TRANSACTIONS):
        return None
    recent = lake.scan(TRANSACTIONS).filter(pl.col("known_at") >= since)
    waited = lake.scan(LEDGER).filter(
        pl.col("stream").is_in([TRANSACTIONS, DECISIONS]),
        pl.col("committed_at") >= since,
        pl.col("first_append_at") < since,
    )
    days = pl.concat(
        [recent.select(pl.col("event_date").min()), waited.select(pl.col("first_event_at").min().dt.date())],
        how="horizontal",
    )
    found: date | None = days.select(pl.min_horizontal("event_date", "first_event_at")).collect().item()
    return found
