"""Upkeep as assets: what each table and Dagster's storage were before and after, night by night."""

from datetime import timedelta
from typing import Any

import dagster as dg

from fraud_assets.lake.upkeep import TableUpkeep
from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.pictures import page, table
from fraud_assets.orchestration.resources import Platform
from fraud_assets.upkeep import keep_lake
from fraud_assets.upkeep.reports import remove_old_reports
from fraud_assets.upkeep.run_storage import purge_runs
from fraud_core.errors import LakeError

_NIGHTLY: Any = {
    "group_name": "upkeep",
    "owners": OWNERS,
    "pool": "upkeep",
    "code_version": "1",
    "freshness_policy": dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)
    ),
}


@dg.asset(
    **_NIGHTLY,
    kinds={"deltalake"},
    description=(
        "One row per table of the lake: files, bytes, version and log before and after the nightly upkeep. Rows that retention "
        "removed leave their counts in the table `retired`, so that the proof of ingestion still holds."
    ),
)
def lake_upkeep(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Remove what is too old, compact, vacuum, cut the logs."""
    done = keep_lake(
        platform.settings,
        platform.lake,
        report=lambda one: context.log.info(
            "%s: %d files compacted, %d vacuumed", one.table, one.compacted, one.vacuumed
        ),
    )
    reports = 0
    if platform.settings.retain_reports_days:
        reports = remove_old_reports(platform.settings.reports_path, platform.settings.retain_reports_days)
    if done.problems:
        raise LakeError("\n".join(done.problems))
    before, after = ([getattr(one, when) for one in done.tables] for when in ("before", "after"))
    metadata: dict[str, Any] = {
        "tables": page(_tables(done.tables)),
        "files_before": sum(state.files for state in before),
        "files_after": sum(state.files for state in after),
        "stored_bytes_before": sum(state.stored_bytes for state in before),
        "stored_bytes_after": sum(state.stored_bytes for state in after),
        "log_files_before": sum(state.log_files for state in before),
        "log_files_after": sum(state.log_files for state in after),
        "rows_retired": dg.MetadataValue.json(done.retired),
        "training_sets_removed": dg.MetadataValue.json(done.training_sets_removed),
        "reports_removed": reports,
    }
    if done.ledger_rows:
        metadata |= {"ledger_rows_before": done.ledger_rows[0], "ledger_rows_after": done.ledger_rows[1]}
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    **_NIGHTLY,
    kinds={"dagster"},
    description=(
        "One upkeep of Dagster's own storage: finished runs older than SPEARHEAD_RETAIN_RUNS_DAYS are removed with their events; those that hold "
        "an asset's or partition's last materialization, or a check's last result, stay."
    ),
)
def run_storage(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Remove old runs."""
    settings = platform.settings
    if not settings.retain_runs_days:
        return dg.MaterializeResult(metadata={"runs": context.instance.get_runs_count()})
    done = purge_runs(context.instance, settings.retain_runs_days, settings.home_path / "dagster")
    metadata: dict[str, Any] = {
        "runs_before": done.runs_before,
        "runs_after": done.runs_after,
        "oldest_run": done.oldest_run.isoformat() if done.oldest_run else "none",
    }
    if done.bytes_before is not None and done.bytes_after is not None:
        metadata |= {"bytes_before": done.bytes_before, "bytes_after": done.bytes_after}
    return dg.MaterializeResult(metadata=metadata)


def _tables(tables: list[TableUpkeep]) -> str:
    heads = (
        *("table", "version", "files before", "after", "MB before", "after", "stored MB before", "after"),
        *("log files before", "after", "oldest file"),
    )
    return table(
        heads,
        [
            (
                one.table,
                str(one.after.version),
                *(f"{value:,}" for value in (one.before.files, one.after.files)),
                *(f"{value / 1e6:,.1f}" for value in (one.before.bytes, one.after.bytes)),
                *(f"{value / 1e6:,.1f}" for value in (one.before.stored_bytes, one.after.stored_bytes)),
                *(f"{value:,}" for value in (one.before.log_files, one.after.log_files)),
                f"{one.after.oldest_file:%Y-%m-%d %H:%M}" if one.after.oldest_file else "",
            )
            for one in tables
        ],
    )
