"""When features are brought up to date without being asked."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from fraud_assets.features import days_known_since, stretches
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
    """Ask for the partitions of events that became known of late, up to today.

    A run reads a horizon before its first day. So days that are nearer to each other are one run, with those between them; a
    very late event's day is a run of its own, and the days since are left as they are.
    """
    now, oldest = context.scheduled_execution_time, platform.settings.first_event_date
    today = now.date()
    late = days_known_since(platform.lake, now - LOOK_BACK)
    wanted = {day for day in late if oldest <= day <= today} | {max(today - timedelta(days=1), oldest), today}
    for first, last in stretches(wanted, platform.features.horizon):
        days = {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()}
        yield dg.RunRequest(run_key=f"{now.isoformat()} {first}", tags=days)
