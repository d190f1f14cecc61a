"""When data-quality results are shown and reports are made without being asked."""

import dagster as dg

from fraud_assets.lake import STREAMS
from fraud_assets.orchestration.quality.assets import data_quality
from fraud_assets.orchestration.quality.checks import report_checks

_QUALITY = dg.AssetSelection.assets(data_quality) | dg.AssetSelection.checks(*report_checks)

quality_reports = dg.define_asset_job(
    "quality_reports",
    selection=_QUALITY,
    description="The trends of data quality, and a report per table.",
)

quality_refresh = dg.define_asset_job(
    "quality_refresh",
    selection=_QUALITY,
    config={"ops": {f"{stream}_great_expectations": {"config": {"by_hour": True}} for stream in STREAMS}},
    description="The trends of data quality, and a report per table and full hour with violations that has none yet.",
)

hourly_quality = dg.ScheduleDefinition(
    name="hourly_quality",
    cron_schedule="4 * * * *",
    job=quality_refresh,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: trends, and the reports of hours with violations. An hour without violations gets none.",
)

daily_reports = dg.ScheduleDefinition(
    name="daily_reports",
    cron_schedule="20 0 * * *",
    job=quality_reports,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: the reports of the last day.",
)
