"""What Dagster loads: assets and checks are found in the folders; jobs, schedules and sensors are listed here."""

from fraud_assets.orchestration.features.schedules import feature_refresh, hourly_features
from fraud_assets.orchestration.ingestion.sensors import ingest_job, keep_ingesting
from fraud_assets.orchestration.online_state.schedules import frequent_labels, label_push, state_rebuild
from fraud_assets.orchestration.training.schedules import history_release, model_release, weekly_model

jobs = [feature_refresh, history_release, ingest_job, label_push, model_release, state_rebuild]
schedules = [frequent_labels, hourly_features, weekly_model]
sensors = [keep_ingesting]
