"""What keeps ingestion going."""

import dagster as dg

from fraud_assets.ingestion.pending import anything_pending
from fraud_assets.lake import STREAMS, quarantine_of
from fraud_assets.orchestration.ingestion.assets import Drive, ingest
from fraud_assets.orchestration.quality.checks import report_checks
from fraud_core.settings import load_settings

ingest_job = dg.define_asset_job(
    "ingest_job",
    # Reports have a schedule of their own: a run per some minutes is no occasion for one.
    selection=dg.AssetSelection.assets(*STREAMS, *map(quarantine_of, STREAMS))
    - dg.AssetSelection.checks(*report_checks),
    description="Bring the log into the lake.",
)

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Keeps one ingest run alive. It holds no position: the run itself plans from what the tables have committed, so a run "
        "that died, ran twice or was started by hand changes nothing."
    ),
)
def keep_ingesting(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a run when none is under way; every attempt gets a key of its own."""
    running = context.instance.get_run_records(
        dg.RunsFilter(job_name=ingest_job.name, statuses=UNFINISHED), limit=1
    )
    if running:
        return dg.SkipReason(f"run {running[0].dagster_run.run_id} is under way")
    settings = load_settings()
    drive = Drive.LOOP if settings.ingest_drive == "loop" else Drive.PLAN
    if drive is Drive.PLAN and not anything_pending(settings):
        return dg.SkipReason("everything on the log is in the lake")
    attempt = int(context.cursor or 0) + 1
    context.update_cursor(str(attempt))
    return dg.RunRequest(
        run_key=None,
        run_config=dg.RunConfig(ops={ingest.op.name: {"config": {"drive": drive.name}}}),
        tags={"spearhead/attempt": str(attempt)},
    )
