"""When data-quality reports are made without being asked."""

import dagster as dg

from fraud_assets.orchestration.quality.checks import report_checks

quality_reports = dg.define_asset_job(
    "quality_reports",
    selection=dg.AssetSelection.checks(*report_checks),
    description="A data-quality report per table.",
)

daily_reports = dg.ScheduleDefinition(
    name="daily_reports",
    cron_schedule="20 0 * * *",
    job=quality_reports,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: the reports of the last day.",
)
