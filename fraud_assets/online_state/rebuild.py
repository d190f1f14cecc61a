"""Make the online state anew from the lake, and say from which offset on the log continues it.

What the rebuild reads is exactly what the tables had committed at one moment; the stream scorer goes on from those
very offsets, so that no event is applied twice and none is left out. Every epoch is recorded in the lake, because the
order in which features are computed again must survive the loss of Redis.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import polars as pl
from deltalake import DeltaTable

from fraud_assets.lake import Lake, read_history, read_transactions
from fraud_assets.online_state.epochs import epoch_registry, record_epoch
from fraud_assets.online_state.labels import Ends, ends_in, held_ends, remember_pushed
from fraud_core.contracts import Contracts
from fraud_core.features import FeatureSet, OnlineState, Rebuilt, drop_epoch, next_epoch, rebuild, up_to
from fraud_core.features.layout import GRACE_MS
from fraud_core.log import SCORER, Log
from fraud_core.redis_connection import connect_redis
from fraud_core.settings import Settings


@dataclass(frozen=True)
class StateBuild:
    """What one rebuild did."""

    rebuilt: Rebuilt
    read_from: datetime
    ends: Ends
    """What it had read; the stream scorer goes on from what of it is on the present log."""
    dropped: int
    """Keys of the replaced epoch that were deleted."""

    @property
    def read_up_to(self) -> dict[str, int]:
        """`ends` by name of the shard, its life included."""
        return {shard.app_id: end for shard, end in self.ends.items()}


def rebuild_state(
    settings: Settings, lake: Lake, log: Log, contracts: Contracts, features: FeatureSet
) -> StateBuild:
    """Write a new epoch from everything known within a horizon of the latest event, then make it current.

    Payments applied to the present epoch while this runs are missing from the new one: stop scoring meanwhile. Raises
    StateError when Redis cannot be reached; the present epoch then stays.
    """
    # A new reader is registered first and read for again after: what follows the second ends cannot have been trimmed.
    _register_scorer(log, committed_ends(log, lake, lake.table("transactions")))
    table = lake.table("transactions")
    labelled = held_ends(lake, "labels")
    goes_on = committed_ends(log, lake, table)
    ends = _read_ends(lake, table, goes_on)
    within = up_to(ends)  # rows that came since are left to the scorer
    known = read_transactions(lake, contracts.transactions).filter(within)
    latest = known.select(pl.col("known_at").max()).collect().item() or datetime.now(UTC)
    read_from = latest - features.horizon - timedelta(milliseconds=GRACE_MS)
    events, labels = read_history(lake, contracts, read_from, within)
    epochs = epoch_registry(lake)
    client = connect_redis(settings.redis_address)
    try:
        state = OnlineState(client, features, settings.namespace)
        epoch = next_epoch(state, epochs)
        replaced = int(cast("bytes | None", client.get(state.calls.epoch_key)) or 0)
        # Before it is current: an epoch that never comes to life does no harm in the registry, one that is missing does.
        record_epoch(lake, features, epoch, ends)
        rebuilt = rebuild(state, features, events, labels, epoch, epochs, ends=goes_on)
        remember_pushed(client, settings.namespace, epoch, labelled | ends)
        dropped = drop_epoch(state, replaced) if replaced else 0
    finally:
        client.close()
    return StateBuild(rebuilt, read_from, ends, dropped)


def committed_ends(log: Log, lake: Lake, table: DeltaTable) -> Ends:
    """How far `transactions`, as this handle knows it, has come on each shard that feeds it; 0 on a log that is new."""
    return {
        shard: lake.committed(table, shard.app_id)
        for stream in ("transactions", "decisions")
        for shard in log.shards(stream)
    }


def _read_ends(lake: Lake, table: DeltaTable, committed: Ends) -> Ends:
    """Up to which offsets the table holds rows, those from former lives of the log among them."""
    ends = dict(committed)
    for shard, offset in ends_in(lake.scan(table)).items():
        ends[shard] = max(offset, ends.get(shard, 0))
    return ends


def _register_scorer(log: Log, ends: Ends) -> None:
    """Let a scorer that never ran begin where the rebuild ends. One that did keeps its place: it skips what was folded."""
    for shard in log.shards("transactions"):
        if SCORER not in log.readers(shard):
            log.advance_reader(shard, SCORER, ends[shard])
