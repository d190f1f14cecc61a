"""The data files of a large append, written by polars beside the table before a commit names them.

delta-rs writes batch by batch through a query engine; polars writes a frame's columns at once, for half the processor time. A file that no
commit names is no part of the table: vacuum removes it, as it does those of any interrupted writer. Rows are read back by
the bounds in the commit, so the files themselves hold none.
"""

import contextlib
import io
import json
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

import polars as pl
from deltalake.transaction import AddAction, RemoveAction
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from fraud_assets.lake.store import is_object_store, object_store

_LARGE: Final = 20_000
_LEVEL: Final = 1
"""Of zstd: compaction writes the rows again, smaller."""
_PLAIN: Final = (pl.String, pl.Int32, pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Datetime("us", "UTC"))
"""Types that polars and delta-rs write alike, by which files of both can stand in one table."""
_BOUNDED: Final = (pl.String, pl.Int32, pl.Int64, pl.Datetime("us", "UTC"))


def can_write(frame: pl.DataFrame, partition_by: Sequence[str], bounds: Collection[str]) -> bool:
    """Whether `frame` is worth it, and is of the plain kind that is written here: at most a day to divide by, known bounds."""
    return (
        frame.height >= _LARGE
        and bool(bounds)
        and all(dtype in _PLAIN for dtype in frame.dtypes)
        and all(frame.schema[name] in _BOUNDED for name in bounds if name in frame.columns)
        and len(partition_by) <= 1
        and all(frame.schema[name] == pl.Date and not frame[name].null_count() for name in partition_by)
    )


class Files(Protocol):
    """Where a table's data files lie. Raises OSError, or an error of polars."""

    def write(self, name: str, rows: pl.DataFrame) -> int:
        """Write a new file; returns its bytes. It is there whole, or is no part of anything."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class _Folder:
    """On a path."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, rows: pl.DataFrame) -> int:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(rows, path)
        return path.stat().st_size

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)


class _Objects:
    """In an object store: one put each, which is tried again as it is, since nobody else has its name."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def write(self, name: str, rows: pl.DataFrame) -> int:
        file = io.BytesIO()
        _encode(rows, file)
        try:
            self._store.put(name, file.getbuffer(), use_multipart=False)
        except BaseError as error:
            raise OSError(str(error)) from error
        return file.tell()

    def remove(self, name: str) -> None:
        with contextlib.suppress(BaseError):
            self._store.delete(name)


def files_of(table_uri: str, options: Mapping[str, str]) -> Files:
    """The data files of the table at an address, as delta-rs gives it."""
    address = urlsplit(table_uri)
    if is_object_store(table_uri) and address.scheme != "file":
        return _Objects(object_store(table_uri, options))
    return _Folder(Path(url2pathname(address.path)))


def write_files(
    files: Files, frame: pl.DataFrame, partition_by: Sequence[str], bounds: Collection[str]
) -> list[AddAction | RemoveAction]:
    """Write `frame` beneath the table, a file per day, and return what a commit needs to name them.

    Raises OSError, or an error of polars; the files written by then are gone.
    """
    written: list[str] = []
    try:
        actions: list[AddAction | RemoveAction] = []
        for partition, rows in _parts(frame, partition_by):
            folder = "".join(f"{name}={value}/" for name, value in partition.items())
            name = f"{folder}part-{uuid.uuid4().hex}.zstd.parquet"
            written.append(name)
            size = files.write(name, rows)
            statistics = json.dumps(_statistics(rows, bounds))
            actions.append(AddAction(name, size, partition, int(time.time() * 1000), True, statistics))
    except BaseException:
        for name in written:
            with contextlib.suppress(OSError):
                files.remove(name)
        raise
    return actions


def _parts(
    frame: pl.DataFrame, partition_by: Sequence[str]
) -> list[tuple[Mapping[str, str | None], pl.DataFrame]]:
    if not partition_by:
        return [({}, frame)]
    [name] = partition_by
    days = frame[name].unique().sort().to_list()
    rest = frame.drop(name)
    if len(days) == 1:
        return [({name: str(days[0])}, rest)]
    return [({name: str(day)}, rest.filter(frame[name] == day)) for day in days]


def _encode(rows: pl.DataFrame, place: Path | io.BytesIO) -> None:
    rows.write_parquet(
        place, compression="zstd", compression_level=_LEVEL, statistics=False, row_group_size=rows.height
    )


def _statistics(rows: pl.DataFrame, bounds: Collection[str]) -> dict[str, Any]:
    """Delta's per-file statistics: rows, and per bounded column least, greatest and number of nulls."""
    names = [name for name in bounds if name in rows.columns]
    least = rows.select(pl.col(names).min()).row(0, named=True)
    most = rows.select(pl.col(names).max()).row(0, named=True)
    return {
        "numRecords": rows.height,
        "minValues": {name: _text(value) for name, value in least.items() if value is not None},
        "maxValues": {name: _text(value) for name, value in most.items() if value is not None},
        "nullCount": {name: rows[name].null_count() for name in names},
    }


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return value.isoformat() if isinstance(value, date) else value
