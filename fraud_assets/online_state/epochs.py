"""The registry of epochs in the lake: which rebuilds there were, and up to which offsets each had read.

The order in which features are computed again rests on it, so it must survive the loss of Redis.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl

from fraud_assets.lake import Lake
from fraud_core.features import Epochs, FeatureSet
from fraud_core.log import Shard

EPOCHS = "state_epochs"
_SCHEMA: dict[str, pl.DataType] = {
    "epoch": pl.Int64(),
    "stream": pl.String(),
    "shard": pl.Int32(),
    "incarnation": pl.String(),
    "end": pl.Int64(),
    "feature_set_hash": pl.String(),
    "recorded_at": pl.Datetime("us", "UTC"),
}


def record_epoch(lake: Lake, features: FeatureSet, epoch: int, ends: Mapping[Shard, int]) -> None:
    """Add an epoch to the registry: its rebuild reads every shard up to this offset."""
    columns = {
        "epoch": epoch,
        "stream": [shard.stream for shard in ends],
        "shard": [shard.number for shard in ends],
        "incarnation": [shard.incarnation for shard in ends],
        "end": list(ends.values()),
        "feature_set_hash": features.hash,
        "recorded_at": datetime.now(UTC),
    }
    table = lake.create(EPOCHS, _SCHEMA)
    lake.append(table, pl.DataFrame(columns, schema=_SCHEMA))


def epoch_registry(lake: Lake) -> Epochs:
    """Epoch to what its rebuild had read; empty before the first rebuild."""
    if not lake.exists(EPOCHS):
        return {}
    found: dict[int, dict[Shard, int]] = {}
    rows = lake.scan(EPOCHS).select("epoch", "stream", "shard", "incarnation", "end").collect()
    for epoch, stream, number, incarnation, end in rows.iter_rows():
        found.setdefault(epoch, {})[Shard(stream, number, incarnation)] = end
    return found
