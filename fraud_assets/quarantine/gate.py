"""What a replay asks of the other side of the log: what the table holds already, and when ingestion has judged."""

import time
from collections.abc import Mapping

import polars as pl

from fraud_assets.lake import LEDGER, Lake
from fraud_core.contracts import Contract, body_hash, key_of

_PAUSE_S = 0.2


def held_already(
    lake: Lake, table: str, stream: str, contract: Contract, events: pl.DataFrame
) -> Mapping[int, bool]:
    """Places of events whose key the table holds on their day, and whether with the same body: sent again meanwhile."""
    if not events.height:
        return {}
    events = events.with_columns(key_of(contract).alias("_key"), body_hash(contract, events).alias("_body"))
    days = events[contract.event_time].dt.date().unique()
    rows = (
        lake.scan(table)
        .filter(pl.col("event_date").is_in(days.implode()), pl.col("_stream") == stream)
        .with_columns(key_of(contract).alias("_key"))
        .filter(pl.col("_key").is_in(events["_key"].unique().implode()))
        .select(*contract.polars_schema(), "_key")
        .collect()
    )
    bodies = dict(zip(rows["_key"], body_hash(contract, rows), strict=True))
    return {
        place: bodies[key] == body
        for place, (key, body) in enumerate(events.select("_key", "_body").iter_rows())
        if key in bodies
    }


def wait_until_judged(lake: Lake, ends: Mapping[str, str], patience_s: float) -> bool:
    """Whether ingestion passes these offsets (shard's `app_id` to offset) within so many seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        ledger = lake.table(LEDGER)
        if all(lake.committed(ledger, shard) >= int(end) for shard, end in ends.items()):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
