"""The registry of epochs in the lake: which rebuilds there were, and up to when each had read.

The order in which features are computed again rests on it, so it must survive the loss of Redis.
"""

from datetime import UTC, datetime

import polars as pl

from fraud_assets.lake import Lake
from fraud_core.features import FeatureSet, Rebuilt

EPOCHS = "state_epochs"
_SCHEMA: dict[str, pl.DataType] = {
    "epoch": pl.Int64(),
    "known_ms": pl.Int64(),
    "feature_set_hash": pl.String(),
    "events": pl.Int64(),
    "built_at": pl.Datetime("us", "UTC"),
}


def record_epoch(lake: Lake, features: FeatureSet, rebuilt: Rebuilt, known_ms: int) -> None:
    """Add an epoch to the registry: its rebuild had read what was known up to `known_ms`."""
    row = {
        "epoch": rebuilt.epoch,
        "known_ms": known_ms,
        "feature_set_hash": features.hash,
        "events": rebuilt.events,
        "built_at": datetime.now(UTC),
    }
    table = lake.create(EPOCHS, _SCHEMA)
    lake.append(table, pl.DataFrame([row], schema=_SCHEMA))


def epoch_registry(lake: Lake) -> dict[int, int] | None:
    """Epoch to the known time (ms) up to which its rebuild had read; None before the first rebuild."""
    if not lake.exists(EPOCHS):
        return None
    rows = lake.scan(EPOCHS).select("epoch", "known_ms").collect()
    return dict(rows.iter_rows()) or None
