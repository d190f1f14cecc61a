"""Parity of served and recomputed features."""

from datetime import timedelta
from typing import Any

import dagster as dg

from fraud_assets.monitoring.parity import feature_parity as compare
from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.partitions import days_of, event_days, one_run
from fraud_assets.orchestration.resources import Platform


@dg.asset(
    deps=["features", "decisions"],
    partitions_def=event_days,
    backfill_policy=one_run,
    group_name="monitoring",
    kinds={"polars"},
    owners=OWNERS,
    code_version="2",
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=26), warn_window=timedelta(hours=4)
    ),
    check_specs=[
        dg.AssetCheckSpec(
            "served_equals_recomputed",
            asset="feature_parity",
            description="Every served vector equals the recomputed one, bit for bit.",
        )
    ],
    description=(
        "One comparison per event date: the vectors that decisions were made with against the feature table, "
        "bit for bit, with the number of differing values per feature."
    ),
)
def feature_parity(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Compare the decisions of the run's range with the feature table."""
    parity = compare(platform.lake, platform.contracts, platform.features, *days_of(context))
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "decisions": dg.MetadataValue.int(parity.decisions),
        "compared": dg.MetadataValue.int(parity.compared),
        "other_feature_sets": dg.MetadataValue.int(parity.other_feature_sets),
        "mismatches": dg.MetadataValue.int(parity.values),
        "mismatches_per_feature": dg.MetadataValue.json(parity.mismatches),
    }
    if parity.first_difference:
        metadata["first_difference"] = dg.MetadataValue.json(parity.first_difference)
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="served_equals_recomputed", passed=parity.proved, metadata=metadata
            )
        ],
    )
