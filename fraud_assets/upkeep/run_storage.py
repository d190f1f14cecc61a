"""Dagster's own storage, kept bounded: old finished runs go, with their events, check results and captured output.

An ingest run of a quarter of an hour leaves some hundred events. What the UI shows of an asset is its last materialization
(of each partition, where it has them) and the last result of each check: runs that hold one of these stay.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

FINISHED: Final = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE: Final = 200


@dataclass(frozen=True)
class RunStorageUpkeep:
    """What was removed, and what Dagster's storage was before and after."""

    runs_before: int
    runs_after: int
    bytes_before: int | None
    """Of Dagster's folder; None where its storage is elsewhere."""
    bytes_after: int | None
    oldest_run: datetime | None

    @property
    def removed(self) -> int:
        return self.runs_before - self.runs_after


def purge_runs(
    instance: dg.DagsterInstance,
    keep_days: int,
    folder: Path | None = None,
    *,
    now: datetime | None = None,
    dry_run: bool = False,
) -> RunStorageUpkeep:
    """Remove finished runs that are older than `keep_days` and hold nobody's last materialization or check result.

    `folder` is where the storage lies, for its size. Works on whatever storage the instance has.
    """
    before, bytes_before = instance.get_runs_count(), _size(folder)
    cutoff = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    kept = _needed_runs(instance)
    removed = 0
    for run_id in list(_finished_before(instance, cutoff)):
        if run_id in kept:
            continue
        removed += 1
        if not dry_run:
            _remove(instance, run_id)
    records = instance.get_run_records(limit=1, ascending=True)
    return RunStorageUpkeep(
        runs_before=before,
        runs_after=before - removed if dry_run else instance.get_runs_count(),
        bytes_before=bytes_before,
        bytes_after=_size(folder),
        oldest_run=records[0].create_timestamp if records else None,
    )


def _finished_before(instance: dg.DagsterInstance, cutoff: datetime) -> Iterator[str]:
    cursor = None
    while True:
        page = instance.get_run_records(
            dg.RunsFilter(statuses=FINISHED, created_before=cutoff), limit=_PAGE, cursor=cursor
        )
        yield from (record.dagster_run.run_id for record in page)
        if len(page) < _PAGE:
            return
        cursor = page[-1].dagster_run.run_id


def _needed_runs(instance: dg.DagsterInstance) -> set[str]:
    """Runs that hold the last materialization of an asset or partition, or the last result of a check."""
    storage = instance.event_log_storage
    needed: set[str] = set()
    for key in instance.get_asset_keys():
        latest = instance.get_latest_materialization_event(key)
        if latest is not None:
            needed.add(latest.run_id)
        ids = sorted(
            set(
                storage.get_latest_storage_id_by_partition(
                    key, dg.DagsterEventType.ASSET_MATERIALIZATION
                ).values()
            )
        )
        for start in range(0, len(ids), _PAGE):
            chunk = ids[start : start + _PAGE]
            found = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, storage_ids=chunk), limit=len(chunk)
            )
            needed |= {record.run_id for record in found.records}
    if isinstance(storage, SqlEventLogStorage):
        table = AssetCheckExecutionsTable
        newest = sa.select(sa.func.max(table.c.id)).group_by(table.c.asset_key, table.c.check_name)
        with storage.index_connection() as connection:
            rows = connection.execute(sa.select(table.c.run_id).where(table.c.id.in_(newest)))
            needed |= {run_id for (run_id,) in rows if run_id}
    return needed


def _remove(instance: dg.DagsterInstance, run_id: str) -> None:
    storage: Any = instance.event_log_storage
    instance.delete_run(run_id)
    if isinstance(storage, SqlEventLogStorage):  # Dagster keeps these for ever
        table = AssetCheckExecutionsTable
        with storage.index_connection() as connection:
            connection.execute(table.delete().where(table.c.run_id == run_id))
    with contextlib.suppress(Exception):  # a log manager that cannot delete is no reason to keep the run
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    if hasattr(storage, "path_for_shard"):  # SQLite: a file per run, which stays when it is empty
        shard = Path(storage.path_for_shard(run_id))
        for suffix in ("", "-wal", "-shm"):
            shard.with_name(shard.name + suffix).unlink(missing_ok=True)


def _size(folder: Path | None) -> int | None:
    if folder is None or not folder.is_dir():
        return None
    total = 0
    for parent, _, names in os.walk(folder):  # not rglob: folders of runs that end come and go meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).stat().st_size
    return total
