"""Make the online state anew from the lake, and say from which offset on the log continues it.

What the rebuild reads is exactly what the tables had committed at one moment; the stream scorer goes on from those
very offsets, so that no event is applied twice and none is left out. Every epoch is recorded in the lake, because the
order in which features are computed again must survive the loss of Redis.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
from redis import Redis

from fraud_assets.lake import Lake, read_history, read_transactions
from fraud_assets.online_state.epochs import epoch_registry, record_epoch
from fraud_core.contracts import Contracts
from fraud_core.features import FeatureSet, OnlineState, Rebuilt, drop_epoch, next_epoch, rebuild
from fraud_core.log import SCORER, Log
from fraud_core.settings import Settings

Ends = dict[tuple[str, int], int]
"""(stream, shard) to the offset of the last entry that the tables hold of it."""


@dataclass(frozen=True)
class StateBuild:
    """What one rebuild did."""

    rebuilt: Rebuilt
    read_from: datetime
    ends: Ends
    """What it had read; from there the stream scorer goes on."""
    dropped: int
    """Keys of the replaced epoch that were deleted."""

    @property
    def read_up_to(self) -> dict[str, int]:
        """`ends` with keys such as transactions/0."""
        return {f"{stream}/{shard}": end for (stream, shard), end in self.ends.items()}


def rebuild_state(
    settings: Settings, lake: Lake, log: Log, contracts: Contracts, features: FeatureSet
) -> StateBuild:
    """Write a new epoch from everything known within a horizon of the latest event, then make it current.

    Payments applied to the present epoch while this runs are missing from the new one: stop scoring meanwhile. Raises
    StateError when Redis cannot be reached; the present epoch then stays.
    """
    # Registered first and read again after: what follows the second ends cannot have been trimmed.
    _register_scorer(log, committed_ends(lake, log))
    ends = committed_ends(lake, log)
    within = _within(ends)
    known = read_transactions(lake, contracts.transactions).filter(within)
    latest = known.select(pl.col("known_at").max()).collect().item() or datetime.now(UTC)
    read_from = latest - features.horizon
    events, labels = read_history(lake, contracts, read_from, within)
    epochs = epoch_registry(lake)
    client = Redis.from_url(settings.redis_address)
    try:
        state = OnlineState(client, features, settings.namespace)
        epoch = next_epoch(state, epochs)
        # Before it is current: an epoch that never comes to life does no harm in the registry, one that is missing does.
        record_epoch(lake, features, epoch, ends)
        rebuilt = rebuild(state, features, events, labels, epoch, epochs, ends=ends)
        _register_scorer(log, ends)
        dropped = drop_epoch(state, max(epochs)) if epochs else 0
    finally:
        client.close()
    return StateBuild(rebuilt, read_from, ends, dropped)


def committed_ends(lake: Lake, log: Log) -> Ends:
    """How far the table `transactions` has come on each shard that feeds it, as of one version of the table."""
    table = lake.table("transactions")
    return {
        (stream, shard.number): lake.committed(table, shard.app_id)
        for stream in ("transactions", "decisions")
        for shard in log.shards(stream)
    }


def _register_scorer(log: Log, ends: Ends) -> None:
    for shard in log.shards("transactions"):
        log.advance_reader(shard, SCORER, ends[shard.stream, shard.number])


def _within(ends: Ends) -> pl.Expr:
    """Rows that were committed by then; rows that came since are left to the scorer."""
    later = pl.lit(False)
    for (stream, shard), end in ends.items():
        later |= (pl.col("_stream") == stream) & (pl.col("_shard") == shard) & (pl.col("_offset") > end)
    return ~later
