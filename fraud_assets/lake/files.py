"""The files beneath the tables: which tables there are, what each one costs, and a log that does not grow for ever.

Opening a table and committing to it list its log folder; with thousands of old commits in it a commit takes several times
as long. delta-rs removes them by age alone, so a busy table would keep tens of thousands: here they go by number.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import obstore
import polars as pl
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from fraud_assets.lake.lake import Lake
from fraud_assets.lake.store import is_object_store, object_store

LOG: Final = "_delta_log"
COMMITS_KEPT: Final = 300
"""A writer may be this many commits behind and still settle with those that came first; a slower one begins anew."""
GRACE: Final = timedelta(seconds=60)
"""Whoever listed the log just now may still be reading it."""
_VERSION = re.compile(rf"{LOG}/(\d{{20}})\.(?:json|checkpoint[^/]*\.parquet|crc)$")
_CHECKPOINT = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint[^/]*\.parquet$")


@dataclass(frozen=True)
class TableState:
    """What a table is and costs at one moment."""

    version: int
    files: int
    """Files of the present version, and their bytes."""
    bytes: int
    rows: int
    oldest_file: datetime | None
    stored_files: int
    """Data files that lie there, those of the past and of interrupted commits among them."""
    stored_bytes: int
    log_files: int
    log_bytes: int


def table_names(lake: Lake) -> list[str]:
    """All tables of the lake, in alphabetical order; nested ones by their path, such as training_sets/ts-…"""
    store = object_store(lake.uri, lake.options)
    found: list[str] = []
    for name in _folders(store, ""):
        inner = _folders(store, name)
        if f"{name}/{LOG}" in inner:
            found.append(name)
        else:
            found += [each for each in inner if f"{each}/{LOG}" in _folders(store, each)]
    return sorted(found)


def files_of(lake: Lake, name: str) -> Iterator[tuple[str, int, datetime]]:
    """Path within the table, bytes and time of change of every file beneath it."""
    store = object_store(lake.uri_of(name), lake.options)
    for batch in obstore.list(store):
        for each in batch:
            yield each["path"], each["size"], each["last_modified"]


def state_of(lake: Lake, name: str) -> TableState:
    """What the table costs now; lists its files."""
    table = lake.table(name)
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    sizes = [(path.startswith(f"{LOG}/"), size) for path, size, _ in files_of(lake, name)]
    log, data = [size for is_log, size in sizes if is_log], [size for is_log, size in sizes if not is_log]
    oldest = actions["modification_time"].min() if actions.height else None
    return TableState(
        version=table.version(),
        files=actions.height,
        bytes=int(actions["size_bytes"].sum()) if actions.height else 0,
        rows=int(actions["num_records"].sum()) if actions.height else 0,
        oldest_file=_instant(oldest),
        stored_files=len(data),
        stored_bytes=sum(data),
        log_files=len(log),
        log_bytes=sum(log),
    )


def prune_log(lake: Lake, name: str, *, keep: int = COMMITS_KEPT, grace: timedelta = GRACE) -> int:
    """Remove commits and checkpoints that precede a checkpoint at least `keep` commits back; returns how many files.

    Every version from that checkpoint on stays readable. Application versions are part of every checkpoint and survive.
    """
    listed = list(files_of(lake, name))
    versions = [int(match[1]) for path, *_ in listed if (match := _VERSION.search(path))]
    if not versions:
        return 0
    checkpoints = [int(match[1]) for path, *_ in listed if (match := _CHECKPOINT.search(path))]
    behind = [each for each in checkpoints if each <= max(versions) - keep]
    if not behind:
        return 0
    first, old_before = max(behind), datetime.now(UTC) - grace
    past = [
        path
        for path, _, changed in listed
        if (match := _VERSION.search(path)) and int(match[1]) < first and changed < old_before
    ]
    store = object_store(lake.uri_of(name), lake.options)
    for start in range(0, len(past), 1000):
        with contextlib.suppress(FileNotFoundError):  # somebody else prunes as well
            obstore.delete(store, past[start : start + 1000])
    return len(past)


def remove_table(lake: Lake, name: str) -> int:
    """Remove a table and everything beneath it, its log first, so that no half of it passes for a table. Returns its files."""
    paths = sorted((path for path, *_ in files_of(lake, name)), key=lambda path: not path.startswith(LOG))
    store = object_store(lake.uri_of(name), lake.options)
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(store, path)
    if not is_object_store(lake.uri):  # folders are no files: they would stay, and pass for a table
        shutil.rmtree(lake.uri_of(name), ignore_errors=True)
    return len(paths)


def _folders(store: ObjectStore, prefix: str) -> list[str]:
    try:
        return list(obstore.list_with_delimiter(store, prefix or None)["common_prefixes"])
    except (FileNotFoundError, BaseError):
        return []


def _instant(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.fromtimestamp(value / 1000, tz=UTC) if isinstance(value, int) else None
