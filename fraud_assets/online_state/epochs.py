"""The registry of epochs in the lake: which rebuilds there were, and up to which offsets each had read.

The order in which features are computed again rests on it, so it must survive the loss of Redis.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from fraud_assets.lake import Lake
from fraud_assets.online_state.plan import RebuildPlan
from fraud_core.features import Epochs, FeatureSet
from fraud_core.log import Shard

EPOCHS = "state_epochs"
REBUILDS = "state_rebuilds"
_SCHEMA: dict[str, pl.DataType] = {
    "epoch": pl.Int64(),
    "stream": pl.String(),
    "shard": pl.Int32(),
    "incarnation": pl.String(),
    "end": pl.Int64(),
    "feature_set_hash": pl.String(),
    "recorded_at": pl.Datetime("us", "UTC"),
}
_REBUILDS: dict[str, pl.DataType] = {
    "epoch": pl.Int64(),
    "replaced": pl.Int64(),
    "reason": pl.String(),
    "began_at": pl.Datetime("us", "UTC"),
    "finished_at": pl.Datetime("us", "UTC"),
    "fence_ms": pl.Float64(),
    "attempts": pl.Int64(),
    "followed": pl.Int64(),
    "events": pl.Int64(),
    "feature_set_hash": pl.String(),
}


@dataclass(frozen=True)
class Handed:
    """How a new epoch took over."""

    fence_ms: float
    attempts: int
    followed: int
    """Decisions read from the log."""
    events: int
    """Payments folded."""


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
        shard, ends = Shard(stream, number, incarnation), found.setdefault(epoch, {})
        ends[shard] = max(end, ends.get(shard, end))  # a handover that took too long recorded it once already
    return found


def record_rebuild(lake: Lake, features: FeatureSet, plan: RebuildPlan, handed: Handed | None) -> None:
    """Keep what a rebuild did, for people; `handed` is unknown when another process finished it."""
    row = {
        "epoch": plan.epoch,
        "replaced": plan.replaces,
        "reason": plan.reason,
        "began_at": datetime.fromtimestamp(plan.began_ms / 1000, UTC),
        "finished_at": datetime.now(UTC),
        "fence_ms": handed.fence_ms if handed else None,
        "attempts": handed.attempts if handed else None,
        "followed": handed.followed if handed else None,
        "events": handed.events if handed else None,
        "feature_set_hash": features.hash,
    }
    table = lake.create(REBUILDS, _REBUILDS)
    lake.append(table, pl.DataFrame([row], schema=_REBUILDS))


def past_rebuilds(lake: Lake, newest: int) -> list[dict[str, Any]]:
    """The newest rebuilds, the latest first."""
    if not lake.exists(REBUILDS):
        return []
    return lake.scan(REBUILDS).sort("finished_at", descending=True).head(newest).collect().to_dicts()
