"""The feature table."""

from datetime import timedelta

import dagster as dg

from fraud_assets.features import FEATURES, Room, build_features
from fraud_assets.orchestration.features.daily import DAILY
from fraud_assets.orchestration.partitions import days_of
from fraud_assets.orchestration.resources import Platform


@dg.asset(
    key=FEATURES,
    deps=["transactions", "labels"],
    **DAILY,
    pool="features",
    code_version="3",
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=26), warn_window=timedelta(hours=2)
    ),
    description=(
        "One row per transaction, by event date: the feature vector (Float32) as it was known when the transaction "
        "arrived. Computed by the same declaration as the online state; replacing a partition gives the same values."
    ),
)
def feature_table(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Compute and replace the partitions of the run's range."""
    first, last = days_of(context)
    room = Room.of(platform.settings)
    build = build_features(platform.lake, platform.contracts, platform.features, first, last, room)
    rows = sum(build.rows.values())
    context.log.info("%s to %s: %d rows, %d events folded", first, last, rows, build.folded)
    if build.refused:
        context.log.warning("No snapshot was gone on from: %s", build.refused)
    went_on = {"snapshot": dg.MetadataValue.timestamp(build.start)} if build.start else {}
    refused = {"snapshot_refused": build.refused} if build.refused else {}
    kept = {"snapshot_kept": dg.MetadataValue.timestamp(build.kept)} if build.kept else {}
    return dg.MaterializeResult(
        metadata={
            **went_on,
            **refused,
            **kept,
            "dagster/row_count": rows,
            "dagster/uri": platform.lake.uri_of(FEATURES),
            "features": len(platform.features.names),
            "feature_set_hash": platform.features.hash,
            "events_folded": build.folded,
            "read_from": dg.MetadataValue.timestamp(build.read_from),
            "rows_per_day": dg.MetadataValue.json({day.isoformat(): n for day, n in build.rows.items()}),
        }
    )
