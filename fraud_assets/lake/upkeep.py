"""Upkeep of one table, safe beside writers: small files into large ones, what nobody needs away, a short log.

Nothing here can lose a row: compaction settles with the commits that came first; vacuum removes only what no version of the
last hours refers to; the log is cut behind a checkpoint, which holds the application versions.

delta-rs accepts two compactions that began at one version: its conflict check passes over removals that change no data, so
both remove the same files, each adds its own copy, and every row stands twice. It does refuse whatever began before
a change of the table's metadata. So a compaction first writes a token there, a fence that no older compaction gets over, and
begins only where the token it reads back is its own.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from fraud_assets.lake.files import TableState, prune_log, state_of
from fraud_assets.lake.lake import Lake
from fraud_assets.lake.writing import COMPACT
from fraud_core.errors import LakeError

FENCE: Final = "spearhead.compaction"
"""Table property that holds the token of the latest compaction begun."""
SHORTEST_VACUUM_H: Final = 2
"""A file that is being written belongs to no version yet; none takes this long."""
_LARGE: Final = 64 << 20
"""Bytes of a file that need not grow any more."""


@dataclass(frozen=True)
class Upkeep:
    """What a compaction did."""

    table: str
    files_removed: int
    files_added: int
    refused: bool = False
    """Another writer was in the way; the next one will do it."""
    log_files_removed: int = 0


@dataclass(frozen=True)
class TableUpkeep:
    """What was done to one table, with what it was before and after."""

    table: str
    before: TableState
    after: TableState
    compacted: int
    """Small files that became larger ones."""
    vacuumed: int
    """Files removed that no recent version refers to."""
    log_files_removed: int
    refused: bool = False


def compact(lake: Lake, name: str, most_rows: int | None = None) -> Upkeep:
    """Merge the small files of a table, write a checkpoint, cut the log. Rows and application versions stay as they are.

    Where the small files hold more than `most_rows`, they stay as they are: merging takes about a second per million.
    Appends that were under way are refused once, by the fence; their writers read the table again, as after any refusal.
    """
    token = uuid.uuid4().hex
    table = lake.table(name)
    if most_rows is not None and (_small_files(table)["num_records"].sum() or 0) > most_rows:
        _write_checkpoint(table, name)
        return Upkeep(name, 0, 0, log_files_removed=prune_log(lake, name))
    try:
        table.alter.set_table_properties({FENCE: token}, raise_if_not_exists=False)
        table = lake.table(name)
        if table.metadata().configuration.get(FENCE) != token:
            return Upkeep(name, 0, 0, refused=True)
        metrics = table.optimize.compact(writer_properties=COMPACT)
        table.create_checkpoint()
    except CommitFailedError:
        return Upkeep(name, 0, 0, refused=True)
    except (DeltaError, OSError) as error:
        if lake.table(name).version() > table.version() + 1:
            # Others went on meanwhile; where the log was cut behind them, this compaction cannot settle with them.
            return Upkeep(name, 0, 0, refused=True)
        raise LakeError(
            f"Compaction of {name} failed: {error}. The table is as it was; check the space and the health of the lake."
        ) from error
    return Upkeep(
        name,
        int(metrics["numFilesRemoved"]),
        int(metrics["numFilesAdded"]),
        log_files_removed=prune_log(lake, name),
    )


def vacuum(lake: Lake, name: str, hours: int, *, dry_run: bool = False) -> int:
    """Remove files that no version of the last `hours` refers to, those of interrupted commits too; returns how many.

    Raises LakeError for less than SHORTEST_VACUUM_H, because files of commits under way would go as well.
    """
    if hours < SHORTEST_VACUUM_H:
        raise LakeError(
            f"Vacuum was asked to keep {hours} hours; at least {SHORTEST_VACUUM_H} are needed, for files that are being "
            "written belong to no version yet. Nothing was removed."
        )
    try:
        removed = lake.table(name).vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)
    except CommitFailedError:
        return 0
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"Vacuum of {name} failed: {error}. No row is lost; check the health of the lake and run it again."
        ) from error
    return len(removed)


def keep_up(lake: Lake, name: str, *, vacuum_after_h: int, dry_run: bool = False) -> TableUpkeep:
    """Compact, vacuum and cut the log of one table; with `dry_run` only say what vacuum would remove."""
    before = state_of(lake, name)
    if dry_run:
        waste = vacuum(lake, name, vacuum_after_h, dry_run=True)
        return TableUpkeep(name, before, before, 0, waste, 0)
    _keep_removed_for(lake, name, vacuum_after_h)
    # Compacting is a change of metadata, by which others are refused once: not where there is nothing to gain.
    done = compact(lake, name) if _has_small_files(lake, name) else Upkeep(name, 0, 0)
    vacuumed = vacuum(lake, name, vacuum_after_h)
    _write_checkpoint(lake.table(name), name)
    pruned = done.log_files_removed + prune_log(lake, name)
    return TableUpkeep(name, before, state_of(lake, name), done.files_removed, vacuumed, pruned, done.refused)


def _write_checkpoint(table: DeltaTable, name: str) -> None:
    try:
        table.create_checkpoint()
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"No checkpoint of {name} could be written: {error}. The table is as it was; check the space and the health of the lake."
        ) from error


def _has_small_files(lake: Lake, name: str) -> bool:
    """Whether a partition has several files that could be one."""
    small = _small_files(lake.table(name))
    days = [column for column in small.columns if column.startswith("partition.")]
    return bool((small.group_by(days).len()["len"] > 1).any()) if days else small.height > 1


def _small_files(table: DeltaTable) -> pl.DataFrame:
    return pl.DataFrame(table.get_add_actions(flatten=True)).filter(pl.col("size_bytes") < _LARGE)


def _keep_removed_for(lake: Lake, name: str, hours: int) -> None:
    """Let checkpoints remember removed files for as long as vacuum keeps them, and no longer: each is a row of every checkpoint."""
    wanted = f"interval {hours} hours"
    table = lake.table(name)
    held = table.metadata().configuration.get("delta.deletedFileRetentionDuration", "")
    if _hours(held) != timedelta(hours=hours):
        try:
            table.alter.set_table_properties({"delta.deletedFileRetentionDuration": wanted})
        except CommitFailedError:
            return  # somebody committed meanwhile; the next upkeep sets it
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"How long {name} remembers removed files could not be set: {error}. The table is as it was; check the health of "
                "the lake."
            ) from error


def _hours(interval: str | None) -> timedelta | None:
    parts = (interval or "").removeprefix("interval ").split()
    if len(parts) != 2 or not parts[0].isdigit():
        return None
    unit = parts[1].rstrip("s")
    return timedelta(**{f"{unit}s": int(parts[0])}) if unit in {"day", "hour", "minute", "week"} else None
