"""Random histories in a lake: everything that a build of features can meet."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from fraud_assets.lake import Lake
from fraud_assets.online_state.epochs import record_epoch
from fraud_core.features import FeatureSet
from fraud_core.log import Shard
from tests.core.features.world import make_world

SIZE = 260


def history_of(seed: int, features: FeatureSet) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A random history: payments on both streams, some scored, late ones; and labels."""
    random = np.random.default_rng(seed)
    world = make_world(seed, SIZE, payers=6, shops=4, span_h=float(random.choice([20.0, 90.0, 400.0])))
    height = world.frame.height
    scored = np.cumsum(
        random.random(height) < 0.4
    )  # an entity's seq rises with the order in which it was seen
    decided = np.diff(scored, prepend=0) > 0
    frame = world.frame.with_columns(
        pl.col("known_at").gather(np.sort(random.integers(0, height, height))),  # many known at once
        event_date=pl.col("at").dt.date(),
        _stream=pl.Series(np.where(decided, "decisions", "transactions")),
        _shard=pl.Series(random.integers(0, 2, height), dtype=pl.Int32),
        _incarnation=pl.lit("a"),
        _index=pl.lit(0, pl.Int32),
        _epoch=pl.when(pl.Series(decided)).then(1 + pl.int_range(pl.len()) // (height // 2)),
        **{f"_seq_{each}": pl.when(pl.Series(decided)).then(pl.Series(scored)) for each in features.entities},
    )
    # Most of what was scored was sent as well, now and then known otherwise, dated otherwise or for another payer.
    copies = frame.filter(pl.Series(decided & (random.random(height) < 0.8))).with_columns(
        pl.col("known_at") - timedelta(minutes=1),
        pl.col("event_date") + pl.duration(days=pl.int_range(pl.len()) % 7 // 6),
        pl.col("payer").shift(),
        _stream=pl.lit("transactions"),
        _offset=pl.col("_offset") + height,
        _epoch=pl.lit(None, pl.Int64),
        **{f"_seq_{each}": pl.lit(None, pl.Int64) for each in features.entities},
    )
    labels = world.labels.with_columns(
        pl.col("known_at").dt.truncate("1h"),  # many of one payment known at once
        _stream=pl.lit("labels"),
        _shard=pl.int_range(pl.len(), dtype=pl.Int32) % 2,
        _incarnation=pl.lit("a"),
        _offset=pl.int_range(pl.len(), dtype=pl.Int64),
        _index=pl.lit(0, pl.Int32),
    )
    return pl.concat([frame, copies.select(frame.columns)]), labels


def lake_of(folder: Path, seed: int, features: FeatureSet) -> tuple[Lake, list[date]]:
    """A lake with such a history, and its days."""
    lake = Lake(str(folder / "lake"))
    rows, labels = history_of(seed, features)
    rows = rows.sample(fraction=1.0, shuffle=True, seed=seed)
    lake.append(lake.create("transactions", rows.schema, partition_by=["event_date"]), rows)
    labels = labels.with_columns(event_date=pl.col("known_at").dt.date() - timedelta(days=5))
    labels = labels.sample(fraction=1.0, shuffle=True, seed=seed)
    lake.append(lake.create("labels", labels.schema), labels)
    if seed % 2:
        for epoch in (1, 2):
            ends = {Shard("transactions", n, "a"): SIZE * epoch // 3 for n in (0, 1)}
            record_epoch(lake, features, epoch, ends | {Shard("decisions", 0, "a"): SIZE * epoch // 2})
    # copies are dated later now and then
    return lake, sorted(set(rows.filter(pl.col("_offset") < SIZE)["event_date"]))
