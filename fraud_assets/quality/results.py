"""`data_quality`: a row per batch and rule, derived from what ingestion committed, exactly once like the ledger.

The ledger says which batches there are, quarantine which reasons were found in each: both are verdicts of record, so this
table is a fold of them and costs a commit now and then instead of one per batch. The app-transaction version of a shard is
the end offset up to which its batches are here; whoever is second is refused and looks again.
"""

from typing import Final

import polars as pl
from deltalake import DeltaTable

from fraud_assets.lake import LEDGER, STREAMS, Lake, quarantine_of, rows_of
from fraud_assets.lake.schemas import UTC_MICROSECONDS
from fraud_core.errors import CommitRefused
from fraud_core.log import Shard

DATA_QUALITY: Final = "data_quality"
ANY: Final = "any"
"""Code of the row that every batch has: events that broke any rule. A rule without a row of its own failed nowhere."""
SCHEMA: Final[dict[str, pl.DataType]] = {
    "stream": pl.String(),
    "shard": pl.Int32(),
    "incarnation": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "contract_version": pl.String(),
    "code": pl.String(),
    "column": pl.String(),
    "checked": pl.Int64(),
    "failed": pl.Int64(),
    "share": pl.Float64(),
    "judged_at": UTC_MICROSECONDS,
    "first_event_at": UTC_MICROSECONDS,
    "last_event_at": UTC_MICROSECONDS,
}
_PLANS = 2_000
"""Batches of one commit: bounds what is held at once when there is much to catch up with."""
_SHARD: Final = ("stream", "shard", "incarnation")
_NO_COLUMN = r"(^|\.)(row|rule)\.[^.]+$"


def record_results(lake: Lake) -> int:
    """Derive the rows of all finished batches that are not here yet; returns how many batches those were.

    Safe to call from several processes at once, and after any interruption.
    """
    recorded = 0
    while True:
        if not lake.exists(LEDGER):
            return recorded
        table = lake.create(DATA_QUALITY, SCHEMA)
        pending = _pending(lake, table)
        if not pending:
            return recorded
        versions: dict[str, int] = {}
        parts: list[pl.DataFrame] = []
        for shard, plans in pending.items():
            parts.append(_rows(lake, shard, plans))
            versions[shard.app_id] = plans[-1, "end"]
        try:
            lake.append(table, pl.concat(parts), versions)
        except CommitRefused:
            continue  # another process recorded some of them just now
        recorded += sum(plans.height for plans in pending.values())


def read_results(lake: Lake) -> pl.LazyFrame:
    """The table, empty where nothing was recorded yet."""
    return lake.scan(DATA_QUALITY) if lake.exists(DATA_QUALITY) else pl.LazyFrame(schema=SCHEMA)


def _pending(lake: Lake, table: DeltaTable) -> dict[Shard, pl.DataFrame]:
    """Ledger rows that are still to be derived, by shard and in order."""
    ledger = lake.scan(LEDGER)
    ends = ledger.group_by(_SHARD).agg(pl.col("end").max()).collect()
    pending: dict[Shard, pl.DataFrame] = {}
    for stream, number, incarnation, end in ends.sort(_SHARD).iter_rows():
        shard = Shard(stream, number, incarnation)
        done = lake.committed(table, shard.app_id)
        if end > done and stream in STREAMS:
            mine = (
                (pl.col("stream") == stream)
                & (pl.col("shard") == number)
                & (pl.col("incarnation") == incarnation)
                & (pl.col("end") > done)
            )
            pending[shard] = ledger.filter(mine).collect().sort("end").head(_PLANS)
    return pending


def _rows(lake: Lake, shard: Shard, plans: pl.DataFrame) -> pl.DataFrame:
    refused = (
        lake.scan(quarantine_of(shard.stream))
        .filter(rows_of(shard), pl.col("_offset") > plans[0, "start"], pl.col("_offset") <= plans[-1, "end"])
        .select("_offset", "kind", "reasons", "judged_at", "contract_version")
        .collect()
        .sort("_offset")
        .join_asof(plans.select("end"), left_on="_offset", right_on="end", strategy="forward")
    )
    verdicts = refused.group_by("end").agg(
        pl.col("judged_at").max(), pl.col("contract_version").first().alias("judged_version")
    )
    batches = plans.join(verdicts, on="end", how="left").select(
        *_SHARD,
        "start",
        "end",
        pl.coalesce("judged_version", "contract_version").alias("contract_version"),
        pl.col("events").alias("checked"),
        "violations",
        pl.coalesce("judged_at", "committed_at").alias("judged_at"),
        "first_event_at",
        "last_event_at",
    )
    whole = batches.with_columns(pl.lit(ANY).alias("code"), pl.col("violations").alias("failed"))
    by_rule = (
        refused.filter(pl.col("kind") == "violation")
        .select("end", pl.col("reasons").alias("code"))
        .explode("code", empty_as_null=False)
        .group_by("end", "code")
        .agg(pl.len().cast(pl.Int64).alias("failed"))
    )
    every = pl.concat([whole, batches.join(by_rule, on="end")], how="diagonal")
    code = pl.col("code")
    named = pl.when((code != ANY) & ~code.str.contains(_NO_COLUMN)).then(code.str.replace(r"\.[^.]+$", ""))
    share = pl.when(pl.col("checked") > 0).then(pl.col("failed") / pl.col("checked")).otherwise(0.0)
    return (
        every.with_columns(named.alias("column"), share.alias("share"))
        .sort("end", code == ANY, "failed", "code", descending=[False, True, True, False])
        .select(*SCHEMA)
    )
