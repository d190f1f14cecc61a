"""What Dagster loads: assets are found in the folders; checks, jobs, schedules and sensors are listed here."""

from fraud_assets.orchestration.features.schedules import feature_refresh, hourly_features
from fraud_assets.orchestration.ingestion.sensors import ingest_job, keep_ingesting
from fraud_assets.orchestration.online_state.schedules import frequent_labels, label_push, state_rebuild
from fraud_assets.orchestration.online_state.sensors import rebuild_lost_state
from fraud_assets.orchestration.quality.checks import report_checks
from fraud_assets.orchestration.quality.schedules import (
    daily_reports,
    hourly_quality,
    quality_refresh,
    quality_reports,
)
from fraud_assets.orchestration.training.schedules import history_release, model_release, weekly_model
from fraud_assets.orchestration.upkeep.schedules import nightly_upkeep, upkeep

jobs = [
    feature_refresh,
    history_release,
    ingest_job,
    label_push,
    model_release,
    quality_refresh,
    quality_reports,
    state_rebuild,
    upkeep,
]
schedules = [
    daily_reports,
    frequent_labels,
    hourly_features,
    hourly_quality,
    nightly_upkeep,
    weekly_model,
]
checks = report_checks
sensors = [keep_ingesting, rebuild_lost_state]
