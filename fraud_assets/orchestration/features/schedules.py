"""When features are brought up to date without being asked."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from fraud_assets.features import earliest_day_known_since
from fraud_assets.orchestration.resources import Platform
from fraud_assets.runs.client import RANGE_END_TAG, RANGE_START_TAG

feature_refresh = dg.define_asset_job(
    "feature_refresh",
    selection=dg.AssetSelection.assets("features", "feature_parity", "feature_statistics"),
    description="The feature table of some days, its statistics, and the proof of parity of what was served on them.",
)


LOOK_BACK = timedelta(hours=3)
"""Long enough that a schedule which missed an hour or two misses no late event."""


@dg.schedule(
    cron_schedule="7 * * * *",
    job=feature_refresh,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: today's and yesterday's features, and those of every day for which an event came late.",
)
def hourly_features(context: dg.ScheduleEvaluationContext, platform: Platform) -> Iterator[dg.RunRequest]:
    """Ask for the partitions from the earliest event that became known of late to today, in one run."""
    now = context.scheduled_execution_time
    late = earliest_day_known_since(platform.lake, now - LOOK_BACK)
    first = min(now.date() - timedelta(days=1), late or now.date())
    days = {
        RANGE_START_TAG: max(first, platform.settings.first_event_date).isoformat(),
        RANGE_END_TAG: now.date().isoformat(),
    }
    yield dg.RunRequest(run_key=now.isoformat(), tags=days)
