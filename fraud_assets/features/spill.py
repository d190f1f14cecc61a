"""Rows on disk, by part: what a build cannot hold at once is put away a little at a time and read back part by part.

A part's rows come back in the order in which they were added. They are written uncompressed: packing costs more than the bytes. Nothing here outlives the build: the folder goes with it, and
what a killed build left goes with the next one. A folder is in use as long as somebody holds the lock on the file in it.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from fraud_core.errors import FeatureError
from fraud_core.settings import Settings

PART: Final = "_part"
"""Column with the number of the part (Int32) that a row belongs to."""

_PREFIX: Final = "spearhead-features-"
_LOCK: Final = "in-use"


@dataclass(frozen=True)
class Room:
    """What a build may take."""

    memory: int = 4096 << 20
    """Bytes for events and features together; a process takes some 300 MiB besides."""
    temp: str = ""
    """Folder for what does not fit; empty: the system's."""
    snapshots: bool = False
    """Whether a build that does not fit into memory goes on from a snapshot of the history, and leaves one."""

    @classmethod
    def of(cls, settings: Settings) -> "Room":
        return cls(settings.feature_memory_mib << 20, settings.feature_temp, settings.feature_snapshots)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder of one build, removed at its end however it ends."""
        parent = Path(self.temp or tempfile.gettempdir())
        _sweep(parent)
        try:
            made = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True)
        except OSError as error:
            raise _failed(parent, error) from error
        with made as name, _in_use(Path(name)):
            yield Path(name)


AMPLE: Final = Room()


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder's file. It gets its name when the lock is held: no sweep finds it between."""
    try:
        file = (folder / f"{_LOCK}.new").open("w")
    except OSError as error:
        raise _failed(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)
        except OSError as error:
            raise _failed(folder, error) from error
        yield


def _sweep(parent: Path) -> None:
    """Remove the folders whose builds are gone."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # in use, another's, or gone just now
            continue


class Spill:
    """Rows of one kind. Files are written when `buffer` bytes have gathered."""

    def __init__(self, folder: Path, buffer: int) -> None:
        self._folder, self._buffer = folder, buffer
        self._held: list[pl.DataFrame] = []
        self._bytes = 0
        self._files: dict[int, list[Path]] = {}
        self._flushes = 0
        try:
            folder.mkdir()
        except OSError as error:
            raise _failed(folder, error) from error

    def add(self, rows: pl.DataFrame) -> None:
        """Put rows away; their column `_part` says where."""
        if rows.is_empty():
            return
        self._held.append(rows)
        self._bytes += int(rows.estimated_size())
        if self._bytes >= self._buffer:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._held:
            return
        rows = pl.concat(self._held)
        self._held, self._bytes = [], 0
        self._flushes += 1
        for (part,), piece in rows.partition_by(
            PART, as_dict=True, include_key=False, maintain_order=True
        ).items():
            path = self._folder / f"{part}-{self._flushes}.arrow"
            try:
                piece.write_ipc(path, compression="uncompressed")
            except (OSError, pl.exceptions.PolarsError) as error:
                raise _failed(self._folder, error) from error
            self._files.setdefault(int(str(part)), []).append(path)

    def take(self, part: int) -> pl.DataFrame | None:
        """The rows of a part, which are gone from the disk then; None when there are none."""
        self.flush()
        paths = self._files.pop(part, [])
        if not paths:
            return None
        rows = pl.concat([pl.read_ipc(path) for path in paths], rechunk=True)
        for path in paths:
            path.unlink()
        return rows


def _failed(folder: Path, error: Exception) -> FeatureError:
    text = " ".join(str(error).split())
    full = "No space left" in text or "os error 28" in text
    advice = (
        "It is full: free some space, or name a larger folder (SPEARHEAD_FEATURE_TEMP)"
        if full
        else "Check the folder, or name another (SPEARHEAD_FEATURE_TEMP)"
    )
    return FeatureError(
        f"A build of features or of the online state could not write to its temporary folder {folder}: {text[:300]}. {advice}. "
        "More memory (SPEARHEAD_FEATURE_MEMORY_MIB) needs less of it. Nothing unfinished is used: days and the online state are as they were."
    )
