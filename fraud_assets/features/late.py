"""Which days a late event concerns: its features belong to the day it happened on, not to the day it came."""

from datetime import date, datetime

import polars as pl

from fraud_assets.lake import Lake


def earliest_day_known_since(lake: Lake, since: datetime) -> date | None:
    """The earliest event date among payments that became known at or after `since`; None when there are none."""
    if not lake.exists("transactions"):
        return None
    recent = lake.scan("transactions").filter(pl.col("known_at") >= since)
    found: date | None = recent.select(pl.col("event_date").min()).collect().item()
    return found
