"""When features are brought up to date without being asked."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from fraud_assets.runs.client import RANGE_END_TAG, RANGE_START_TAG

feature_refresh = dg.define_asset_job(
    "feature_refresh",
    selection=dg.AssetSelection.assets("features", "feature_parity"),
    description="Today's and yesterday's partitions of the features: yesterday's for events that arrived late; with the proof of parity.",
)


@dg.schedule(
    cron_schedule="7 * * * *",
    job=feature_refresh,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: today's and yesterday's features.",
)
def hourly_features(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Ask for yesterday's partition and today's in one run."""
    today = context.scheduled_execution_time.date()
    days = {RANGE_START_TAG: (today - timedelta(days=1)).isoformat(), RANGE_END_TAG: today.isoformat()}
    yield dg.RunRequest(run_key=context.scheduled_execution_time.isoformat(), tags=days)
