"""When labels reach the online state."""

import dagster as dg

from fraud_assets.lake import open_lake
from fraud_assets.online_state.epochs import epoch_registry
from fraud_assets.orchestration.online_state.assets import online_labels, online_state
from fraud_core.settings import load_settings

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


@dg.schedule(
    cron_schedule="*/5 * * * *",
    job=label_push,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, because a label counts from ten minutes after it became known at the earliest.",
)
def frequent_labels() -> dg.RunRequest | dg.SkipReason:
    """Request a push once there is a state to push to."""
    if not epoch_registry(open_lake(load_settings(), probe=False)):
        return dg.SkipReason(
            "no online state was built yet; the first rebuild (asset `online_state`) takes every label with it"
        )
    return dg.RunRequest()
