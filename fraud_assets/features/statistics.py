"""Statistics of the feature table: one row per event date and feature, from which shifts over time are read.

Counts per bin are exact and the bins are the same for every feature and every day, so that days can be added up and
compared without the rows: a bin is a quarter of an octave of the value's size, with its sign; 0 has a bin of its own.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from fraud_assets.features.build import FEATURES
from fraud_assets.lake import Lake
from fraud_core.features import FeatureSet

STATISTICS: Final = "feature_statistics"
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS_PER_OCTAVE: Final = 4
_SMALLEST_OCTAVE: Final = -40
"""What is smaller than 2^-40 falls into the first bin of its sign."""

_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_date": pl.Date(),
    "feature": pl.String(),
    "feature_hash": pl.String(),
    "rows": pl.Int64(),
    "nulls": pl.Int64(),
    "mean": pl.Float64(),
    "std": pl.Float64(),
    "minimum": pl.Float64(),
    "maximum": pl.Float64(),
    **{f"q{round(quantile * 100):02d}": pl.Float64() for quantile in QUANTILES},
    "bins": pl.List(pl.Int32()),
    "counts": pl.List(pl.Int64()),
}


@dataclass(frozen=True)
class StatisticsBuild:
    """What was written: days and rows of the feature table that stand behind them."""

    days: int
    rows: int


def build_statistics(lake: Lake, features: FeatureSet, first: date, last: date) -> StatisticsBuild:
    """Replace the statistics of the event dates `first`..`last` (inclusive) by those of the feature table as it is.

    Only rows of the present feature set count. One column is in memory at a time.
    """
    table = lake.create(STATISTICS, _SCHEMA, partition_by=["event_date"])
    rows = lake.scan(FEATURES).filter(
        pl.col("event_date").is_between(first, last), pl.col("feature_set_hash") == features.hash
    )
    parts = [_of_feature(rows, name, hash_) for name, hash_ in features.hashes.items()]
    frame = pl.concat(parts)
    lake.replace(STATISTICS, frame, f"event_date >= '{first}' AND event_date <= '{last}'", table=table)
    days = frame.unique("event_date")
    return StatisticsBuild(len(days), int(days["rows"].sum()))


def read_statistics(lake: Lake, first: date, last: date) -> pl.DataFrame:
    """The rows of some event dates, with the columns of the table; empty before the first build."""
    if not lake.exists(STATISTICS):
        return pl.DataFrame(schema=_SCHEMA)
    return lake.scan(STATISTICS).filter(pl.col("event_date").is_between(first, last)).collect()


def bin_of(value: pl.Expr) -> pl.Expr:
    """Bin of a finite number (Int32): 0 for 0, growing with the value; infinities take the outermost bins."""
    octave = value.abs().log(2).clip(_SMALLEST_OCTAVE, 128)
    place = ((octave - _SMALLEST_OCTAVE) * BINS_PER_OCTAVE).floor().cast(pl.Int32) + 1
    return pl.when(value == 0).then(0).otherwise(place * value.sign().cast(pl.Int32)).cast(pl.Int32)


def _of_feature(rows: pl.LazyFrame, name: str, hash_: str) -> pl.DataFrame:
    values = rows.select("event_date", pl.col(name).fill_nan(None).cast(pl.Float64).alias("value")).collect()
    value = pl.col("value")
    figures = values.group_by("event_date").agg(
        pl.len().cast(pl.Int64).alias("rows"),
        value.null_count().cast(pl.Int64).alias("nulls"),
        value.mean().alias("mean"),
        value.std().alias("std"),
        value.min().alias("minimum"),
        value.max().alias("maximum"),
        *[value.quantile(quantile).alias(f"q{round(quantile * 100):02d}") for quantile in QUANTILES],
    )
    counted = (
        values.drop_nulls("value")
        .group_by("event_date", bin_of(value).alias("bin"))
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .sort("bin")
        .group_by("event_date")
        .agg(pl.col("bin").alias("bins"), pl.col("count").alias("counts"))
    )
    empty = [pl.col(column).fill_null([]) for column in ("bins", "counts")]
    return (
        figures.join(counted, on="event_date", how="left")
        .with_columns(*empty, pl.lit(name).alias("feature"), pl.lit(hash_).alias("feature_hash"))
        .select(pl.col(column).cast(dtype) for column, dtype in _SCHEMA.items())
        .sort("event_date")
    )
