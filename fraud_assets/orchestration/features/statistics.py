"""Statistics of the features."""

from datetime import timedelta

import dagster as dg
import polars as pl

from fraud_assets.features import FEATURES, plots
from fraud_assets.features.shift import LARGE_SHIFT, SHIFT, shifts
from fraud_assets.features.statistics import STATISTICS, build_statistics, read_statistics
from fraud_assets.orchestration.features.daily import DAILY
from fraud_assets.orchestration.partitions import days_of
from fraud_assets.orchestration.pictures import page, picture, table
from fraud_assets.orchestration.resources import Platform

SHOWN = timedelta(days=60)


@dg.asset(
    key=STATISTICS,
    deps=[FEATURES],
    **DAILY,
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=26), warn_window=timedelta(hours=4)
    ),
    description=(
        "One row per event date and feature: rows, absent values, mean, deviation, quantiles, and exact counts per bin, from "
        "which the shift of a day against the days before (population stability index) is read."
    ),
)
def feature_statistics(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Compute and replace the statistics of the run's range, and draw the last 60 days."""
    first, last = days_of(context)
    built = build_statistics(platform.lake, platform.features, first, last)
    shown = read_statistics(platform.lake, last - SHOWN, last)
    moved = shifts(shown)
    newest = moved.filter(pl.col("event_date") == pl.col("event_date").max()).sort("psi", descending=True)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": built.days * len(platform.features.names),
            "dagster/uri": platform.lake.uri_of(STATISTICS),
            "days": built.days,
            "feature_rows": built.rows,
            "shifted_features": newest.filter(pl.col("psi") >= SHIFT).height,
            "largely_shifted_features": newest.filter(pl.col("psi") >= LARGE_SHIFT).height,
            "report": page(
                table(
                    ("feature", "shift (PSI)"),
                    [(name, f"{psi:.3f}") for _, name, psi in newest.head(10).iter_rows()],
                ),
                picture("shift", plots.shift_map(moved)),
                picture("absent values", plots.null_map(shown)),
            ),
        }
    )
