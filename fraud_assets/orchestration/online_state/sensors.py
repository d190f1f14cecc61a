"""What brings a lost online state back."""

import dagster as dg

from fraud_assets.lake import open_lake
from fraud_assets.online_state.condition import lost_state
from fraud_assets.orchestration.online_state.schedules import state_rebuild
from fraud_assets.orchestration.run_statuses import UNFINISHED
from fraud_core.contracts import load_contracts
from fraud_core.errors import SpearheadError
from fraud_core.features import load_features
from fraud_core.settings import load_settings


@dg.sensor(
    job=state_rebuild,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Says when Redis lost the online state, and rebuilds it (SPEARHEAD_STATE_AUTO_REBUILD). A state of another declaration is "
        "left alone: when to rebuild for that is a person's decision."
    ),
)
def rebuild_lost_state(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a rebuild when the state is lost and none is under way."""
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    try:
        reason = lost_state(settings, open_lake(settings, probe=False), features)
    except SpearheadError as error:
        return dg.SkipReason(str(error))
    if reason is None:
        return dg.SkipReason("the online state is there, or was never built")
    context.log.error("The online state is lost: %s", reason)
    if not settings.state_auto_rebuild:
        return dg.SkipReason(
            f"lost: {reason}. Rebuild it (spearhead state rebuild): SPEARHEAD_STATE_AUTO_REBUILD is off"
        )
    running = context.instance.get_run_records(
        dg.RunsFilter(job_name=state_rebuild.name, statuses=UNFINISHED), limit=1
    )
    if running:
        return dg.SkipReason(f"run {running[0].dagster_run.run_id} rebuilds it: {reason}")
    attempt = int(context.cursor or 0) + 1
    context.update_cursor(str(attempt))
    return dg.RunRequest(run_key=None, tags={"spearhead/attempt": str(attempt), "spearhead/lost": reason})
