"""When upkeep is done without being asked."""

import dagster as dg

from fraud_assets.orchestration.upkeep.assets import lake_upkeep, run_storage

upkeep = dg.define_asset_job(
    "upkeep",
    selection=dg.AssetSelection.assets(lake_upkeep, run_storage),
    description="Tables compacted, vacuumed and rid of what is too old; old runs removed.",
)

nightly_upkeep = dg.ScheduleDefinition(
    name="nightly_upkeep",
    cron_schedule="40 2 * * *",
    job=upkeep,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: upkeep of the lake and of Dagster's own storage.",
)
