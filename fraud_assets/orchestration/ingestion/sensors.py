"""What keeps ingestion going."""

import dagster as dg

from fraud_assets.ingestion.groups import ShardGroup
from fraud_assets.ingestion.pending import anything_pending
from fraud_assets.lake import STREAMS, quarantine_of
from fraud_assets.orchestration.ingestion.assets import Drive, ingest
from fraud_assets.orchestration.quality.checks import report_checks
from fraud_assets.orchestration.run_statuses import UNFINISHED
from fraud_core.settings import load_settings

ingest_job = dg.define_asset_job(
    "ingest_job",
    # Reports have a schedule of their own: a run per some minutes is no occasion for one.
    selection=dg.AssetSelection.assets(*STREAMS, *map(quarantine_of, STREAMS))
    - dg.AssetSelection.checks(*report_checks),
    description="Bring the log into the lake.",
)


GROUP_TAG = "spearhead/ingest_group"


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Keeps one ingest run per group of shards alive (one in all, unless SPEARHEAD_INGEST_GROUPS says otherwise). It holds no "
        "position: the run itself plans from what the tables have committed, so a run that died, ran twice or was started by "
        "hand changes nothing."
    ),
)
def keep_ingesting(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run for each group that has none under way; every attempt gets a key of its own."""
    settings = load_settings()
    # On Kafka a stream has as many shards as its topic has partitions, whatever the setting says.
    most = settings.ingest_groups if settings.log == "kafka" else len(STREAMS) * settings.shards
    count = min(settings.ingest_groups, most)
    wanted = {str(group): group for group in (ShardGroup(number, count) for number in range(count))}
    for record in context.instance.get_run_records(
        dg.RunsFilter(job_name=ingest_job.name, statuses=UNFINISHED)
    ):
        run = record.dagster_run
        if wanted.pop(run.tags.get(GROUP_TAG, ""), None) is None:
            # By hand, or of another division: it holds shards of several groups, and ends by itself.
            return dg.SkipReason(f"run {run.run_id} is under way")
    if not wanted:
        return dg.SkipReason("a run of each group is under way" if count > 1 else "a run is under way")
    drive = Drive.LOOP if settings.ingest_drive == "loop" else Drive.PLAN
    if drive is Drive.PLAN:
        wanted = {name: group for name, group in wanted.items() if anything_pending(settings, group=group)}
        if not wanted:
            return dg.SkipReason("everything on the log is in the lake")
    attempt = int(context.cursor or 0) + 1
    context.update_cursor(str(attempt))
    return [
        dg.RunRequest(
            run_key=None,
            run_config=dg.RunConfig(
                ops={
                    ingest.op.name: {
                        "config": {"drive": drive.name, "group": group.number, "groups": group.of}
                    }
                }
            ),
            tags={"spearhead/attempt": str(attempt), GROUP_TAG: name},
        )
        for name, group in wanted.items()
    ]
