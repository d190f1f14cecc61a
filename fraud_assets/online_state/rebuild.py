"""Make the online state anew from the lake, and say from which offset on the log continues it.

What the rebuild reads is exactly what the tables had committed at one moment; the stream scorer goes on from those
very offsets, so that no event is applied twice and none is left out. Every epoch is recorded in the lake, because the
order in which features are computed again must survive the loss of Redis.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
from redis import Redis

from fraud_assets.lake import Lake, read_transactions
from fraud_assets.online_state.epochs import record_epoch
from fraud_core.contracts import Contracts
from fraud_core.features import FeatureSet, OnlineState, Rebuilt, rebuild
from fraud_core.log import Log
from fraud_core.settings import Settings

SCORER = "stream_scorer"


@dataclass(frozen=True)
class StateBuild:
    """What one rebuild did."""

    rebuilt: Rebuilt
    read_from: datetime
    positions: dict[str, int]
    """Offset of each shard of `transactions` from which the stream scorer goes on."""


def rebuild_state(
    settings: Settings, lake: Lake, log: Log, contracts: Contracts, features: FeatureSet
) -> StateBuild:
    """Write a new epoch from everything known within a horizon of the latest event, then make it current.

    Raises StateError when Redis cannot be reached; the present epoch then stays.
    """
    # Registered first and read again after: what follows the second positions cannot have been trimmed.
    _register_scorer(log, _positions(lake, log))
    positions = _positions(lake, log)
    known = read_transactions(lake, contracts.transactions).filter(_within(positions))
    latest = known.select(pl.col("known_at").max()).collect().item() or datetime.now(UTC)
    read_from = latest - features.horizon
    events = known.filter(pl.col("known_at") >= read_from).collect()
    client = Redis.from_url(settings.redis_address)
    try:
        state = OnlineState(client, features, settings.namespace)
        labels = lake.scan("labels").collect() if lake.exists("labels") else None
        rebuilt = rebuild(state, features, events, labels)
    finally:
        client.close()
    _register_scorer(log, positions)
    record_epoch(lake, features, rebuilt, int(latest.timestamp() * 1000))
    return StateBuild(rebuilt, read_from, {str(s): positions[s.app_id] for s in log.shards("transactions")})


def _register_scorer(log: Log, positions: dict[str, int]) -> None:
    for shard in log.shards("transactions"):
        log.advance_reader(shard, SCORER, positions[shard.app_id])


def _positions(lake: Lake, log: Log) -> dict[str, int]:
    """Committed end offset of every shard that feeds `transactions`, from one handle of the table."""
    table = lake.table("transactions")
    return {
        shard.app_id: lake.committed(table, shard.app_id)
        for stream in ("transactions", "decisions")
        for shard in log.shards(stream)
    }


def _within(positions: dict[str, int]) -> pl.Expr:
    """Rows that were committed at those positions; rows that came since are left to the scorer."""
    later = pl.lit(False)
    for app_id, end in positions.items():
        stream, _, number = app_id.split("/")
        later = later | (
            (pl.col("_stream") == stream) & (pl.col("_shard") == int(number)) & (pl.col("_offset") > end)
        )
    return ~later
