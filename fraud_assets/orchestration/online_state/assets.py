"""The online feature state as assets: rebuilt on request, told of labels all day."""

from datetime import timedelta

import dagster as dg

from fraud_assets.online_state import push_label_effects, rebuild_state, sweep_abandoned
from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.resources import Platform
from fraud_core.log import open_log
from fraud_core.platform.signals import asked_to_stop


@dg.asset(
    deps=["transactions", "labels", "decisions"],
    group_name="online_state",
    kinds={"redis"},
    owners=OWNERS,
    pool="online_state",
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=90)),
    description=(
        "One state per entity (account, card, merchant, device, …) in Redis, made anew from the lake into a new epoch. It is a "
        "cache: throw it away and materialize this. Scoring goes on meanwhile."
    ),
)
def online_state(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Rebuild and make current, while scoring goes on."""
    log = open_log(platform.settings)
    try:
        build = rebuild_state(
            platform.settings,
            platform.lake,
            log,
            platform.contracts,
            platform.features,
            rate=platform.settings.state_rebuild_rate,
            reason=context.run.tags.get("spearhead/lost", f"run {context.run.run_id}"),
            on_step=lambda what, done, of: context.log.info("%s: %d of %d", what, done, of),
        )
    finally:
        log.close()
    return dg.MaterializeResult(
        metadata={
            "epoch": build.rebuilt.epoch,
            "events": build.rebuilt.events,
            "entities": dg.MetadataValue.json(build.rebuilt.entities),
            "bytes": build.rebuilt.bytes,
            "read_from": dg.MetadataValue.timestamp(build.read_from),
            "read_up_to": dg.MetadataValue.json(build.read_up_to),
            "fence_ms": build.fence_ms,
            "followed": build.followed,
            "resumed": build.resumed,
            "keys_dropped": build.dropped,
        }
    )


@dg.asset(
    deps=["labels", "online_state"],
    group_name="online_state",
    kinds={"redis"},
    owners=OWNERS,
    pool="online_state",
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=1), warn_window=timedelta(minutes=20)
    ),
    description=(
        "One effect per label and entity, pushed to Redis before the full hour at which it counts; those that came too late "
        "are counted, because there the online value differed."
    ),
)
def online_labels(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Push the effects of the labels that came since the last push."""
    with asked_to_stop():  # a moment's work: what stops the platform waits for it, and the run ends well
        applied = push_label_effects(platform.settings, platform.lake, platform.contracts, platform.features)
        swept = sweep_abandoned(platform.settings, platform.features)
    if applied.late:
        context.log.warning("%d label effects came after the hour at which they count", applied.late)
    return dg.MaterializeResult(
        metadata={
            "effects_added": applied.added,
            "effects_late": applied.late,
            "abandoned_keys_dropped": swept,
        }
    )
