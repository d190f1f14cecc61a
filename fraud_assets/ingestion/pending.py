"""Whether a run would find anything to do: asked by whoever starts runs that end after one plan."""

from collections.abc import Sequence

from fraud_assets.ingestion.groups import EVERY_SHARD, ShardGroup
from fraud_assets.lake import LEDGER, STREAMS, open_lake
from fraud_core.log import open_log
from fraud_core.settings import Settings


def anything_pending(
    settings: Settings, streams: Sequence[str] = STREAMS, group: ShardGroup = EVERY_SHARD
) -> bool:
    """Whether a shard's log ends after what the ledger has of it. Raises LogUnavailable when the log cannot be reached."""
    lake, log = open_lake(settings, probe=False), open_log(settings)
    try:
        ends = {shard: log.end(shard) for shard in group.shards(log, streams)}
        if not lake.exists(LEDGER):
            return any(ends.values())
        ledger = lake.table(LEDGER)
        return any(end > lake.committed(ledger, shard.app_id) for shard, end in ends.items())
    finally:
        log.close()
