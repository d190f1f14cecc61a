"""When labels reach the online state."""

import dagster as dg

from fraud_assets.orchestration.online_state.assets import online_labels, online_state

label_push = dg.define_asset_job(
    "label_push",
    selection=dg.AssetSelection.assets(online_labels),
    description="Labels to the online state.",
)

state_rebuild = dg.define_asset_job(
    "state_rebuild",
    selection=dg.AssetSelection.assets(online_state),
    description="The online state made anew from the lake.",
)

frequent_labels = dg.ScheduleDefinition(
    name="frequent_labels",
    cron_schedule="*/5 * * * *",
    job=label_push,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, because a label counts from ten minutes after it became known at the earliest.",
)
