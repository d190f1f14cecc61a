"""Delta tables by name: open, create, append under a version, replace, scan.

delta-rs records application versions but enforces no order, and it casts silently when it appends. So the caller
opens a fresh handle, checks the version on it and passes that very handle to `append`, which compares types first.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from fraud_assets.lake.data_files import can_write, files_of, write_files
from fraud_assets.lake.store import probe_store, storage_options
from fraud_assets.lake.writing import FrameStream, writer_for
from fraud_core.errors import CommitRefused, LakeError
from fraud_core.settings import Settings

_COMMIT_RETRIES = 15
_ATTEMPTS = 5
_BOUNDS = "delta.dataSkippingStatsColumns"


class Lake:
    """The Delta tables under one root."""

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.options = dict(options or {})

    def uri_of(self, name: str) -> str:
        """Address of a table."""
        return f"{self.uri}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the table was created."""
        try:
            return DeltaTable.is_deltatable(self.uri_of(name), self.options or None)
        except (DeltaError, OSError) as error:
            raise _failed("look for", name, error) from error

    def table(self, name: str) -> DeltaTable:
        """A fresh handle: it knows every commit made so far, and none made later."""
        try:
            return DeltaTable(self.uri_of(name), storage_options=self.options or None)
        except TableNotFoundError as error:
            raise LakeError(
                f"The table {name} was expected at {self.uri_of(name)}; there is none. It is created when a stream is "
                "ingested (`spearhead ingest`); if it was there before, check that the lake is mounted."
            ) from error
        except (DeltaError, OSError) as error:
            raise _failed("read", name, error) from error

    def create(
        self,
        name: str,
        schema: Mapping[str, pl.DataType],
        partition_by: Sequence[str] = (),
        *,
        statistics: Sequence[str] = (),
        keep_columns: bool = False,
        identity: Sequence[str] = (),
    ) -> DeltaTable:
        """Create the table, or add the columns that it lacks; safe to call from several processes at once.

        `statistics` names the columns whose bounds are kept per file, by which reads skip files; none: the first 32.
        `identity` names columns that tell rows apart, and so cannot be added to rows that lack them.
        Raises LakeError with the difference when the table holds other types, or columns that `schema` lacks; with
        `keep_columns` those stay, for the writer to fill with nulls.
        """
        if not self.exists(name):
            try:
                return DeltaTable.create(
                    self.uri_of(name),
                    schema=_delta_schema(schema),
                    mode="error",
                    partition_by=list(partition_by),
                    configuration=_configuration(statistics),
                    storage_options=self.options or None,
                )
            except (DeltaError, OSError) as error:
                if not self.exists(name):  # else another process created it just now
                    raise _failed("create", name, error) from error
        table = self.table(name)
        missing = _missing_columns(name, schema_of(table), schema, keep_columns)
        if missing and (nameless := [column for column in identity if column in missing]):
            raise LakeError(
                f"The table {name} was expected to have {', '.join(nameless)}, by which its rows are told apart; an older "
                "version of Spearhead wrote it without. Ingest into a new lake (SPEARHEAD_LAKE) from the log or from a replay; "
                "the old one stays readable with that version. Nothing was written."
            )
        for attempt in range(_ATTEMPTS):
            if not missing:
                break
            try:
                table.alter.add_columns(_delta_schema(missing).fields)
            except (
                CommitFailedError
            ) as error:  # another process evolved it just now, or compaction raised its fence
                if attempt == _ATTEMPTS - 1:
                    raise _failed("evolve", name, error) from error
            table = self.table(name)
            missing = _missing_columns(name, schema_of(table), schema, keep_columns)
        return table

    def committed(self, table: DeltaTable, app_id: str) -> int:
        """The version recorded for `app_id`, as this handle knows it; 0 when there is none."""
        version = table.transaction_version(app_id)
        return 0 if version is None else int(version)

    def append(
        self, table: DeltaTable, frame: pl.DataFrame, versions: Mapping[str, int] | None = None
    ) -> None:
        """Append `frame`, which must have exactly the table's columns and types; it may be empty.

        With `versions` (app id → version) the commit is refused when another writer recorded one of these app ids
        since the handle was opened, and when a compaction began: raises CommitRefused then. Without them nothing is said about
        what was there before, and a refused commit is made again. Raises LakeError when the store fails.
        """
        expected = schema_of(table)
        _check_types(table, expected, frame)
        rows = frame.select(expected.names())
        partition_by = table.metadata().partition_columns
        for attempt in range(_ATTEMPTS):
            try:
                if can_write(rows, partition_by, _bounds(table)):
                    self._add_files(table, rows, versions, partition_by)
                else:
                    self._write(table, rows, versions, mode="append")
                return
            except CommitRefused:
                if versions or attempt == _ATTEMPTS - 1:
                    raise
                table = DeltaTable(table.table_uri, storage_options=self.options or None)

    def replace(
        self,
        name: str,
        rows: pl.DataFrame | Iterator[pl.DataFrame],
        predicate: str,
        *,
        table: DeltaTable | None = None,
        versions: Mapping[str, int] | None = None,
    ) -> None:
        """Replace the rows that match `predicate` (SQL, usually of one partition) by `rows`, in one commit.

        Frames of an iterator are taken as they are written; what it raises is raised here, and nothing is committed.
        """
        handle = table if table is not None else self.table(name)
        expected = schema_of(handle)
        frames = iter([rows]) if isinstance(rows, pl.DataFrame) else rows
        checked = (_checked(handle, expected, frame) for frame in frames)
        first = next(checked, expected.to_frame())
        second = next(checked, None)
        if second is None:
            self._write(handle, first, versions, mode="overwrite", predicate=predicate)
            return
        stream = FrameStream(expected, chain((first, second), checked))
        try:
            self._write(handle, first, versions, mode="overwrite", predicate=predicate, stream=stream)
        except Exception:  # of whatever kind: what counts is whether making the frames failed
            if stream.failure is not None:  # the writer made words of it
                raise stream.failure from None
            raise

    def as_of(self, table: DeltaTable) -> DeltaTable:
        """Another handle of the same table and version: one that was written through knows its own commit."""
        try:
            return DeltaTable(table.table_uri, version=table.version(), storage_options=self.options or None)
        except (DeltaError, OSError) as error:
            raise _failed("read", table.table_uri, error) from error

    def scan(self, source: str | DeltaTable) -> pl.LazyFrame:
        """The rows of a table as of now, or as of a handle."""
        return pl.scan_delta(self.table(source) if isinstance(source, str) else source)

    def _write(
        self,
        table: DeltaTable,
        frame: pl.DataFrame,
        versions: Mapping[str, int] | None,
        *,
        mode: str,
        predicate: str | None = None,
        stream: FrameStream | None = None,
    ) -> None:
        with self._committing(table):
            write_deltalake(
                table,
                frame if stream is None else stream.reader(),
                mode=mode,  # type: ignore[call-overload]  # delta-rs declares a call per mode
                predicate=predicate,
                writer_properties=writer_for(frame, _bounds(table)),
                commit_properties=_commit_properties(versions),
            )

    def _add_files(
        self,
        table: DeltaTable,
        frame: pl.DataFrame,
        versions: Mapping[str, int] | None,
        partition_by: Sequence[str],
    ) -> None:
        with self._committing(table):
            # Whether a commit that failed is there after all cannot be known for certain: its files are vacuum's to remove.
            table.create_write_transaction(
                write_files(files_of(table.table_uri, self.options), frame, partition_by, _bounds(table)),
                "append",
                table.schema(),
                list(partition_by),
                commit_properties=_commit_properties(versions),
            )

    @contextmanager
    def _committing(self, table: DeltaTable) -> Iterator[None]:
        try:
            yield
        except CommitFailedError as error:
            raise CommitRefused(
                f"Another writer committed to {table.table_uri} first ({error}); nothing of this commit was written. "
                "Read the table again and plan anew."
            ) from error
        except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
            raise _failed("write to", table.table_uri, error) from error


def _commit_properties(versions: Mapping[str, int] | None) -> CommitProperties:
    transactions = [Transaction(app_id, version) for app_id, version in (versions or {}).items()]
    return CommitProperties(app_transactions=transactions or None, max_commit_retries=_COMMIT_RETRIES)


def open_lake(settings: Settings, *, probe: bool = True) -> Lake:
    """The lake of the settings. `probe` refuses a store that is unsafe or not mounted; do it once per process."""
    if probe:
        probe_store(settings)
    return Lake(settings.lake_uri, storage_options(settings))


def schema_of(table: DeltaTable) -> pl.Schema:
    """Columns and types of a table, in its order."""
    return pl.Schema(table.schema().to_arrow())


def _bounds(table: DeltaTable) -> list[str]:
    """Columns whose bounds the table keeps per file; none: all of them."""
    return [name for name in (table.metadata().configuration.get(_BOUNDS) or "").split(",") if name]


def _configuration(statistics: Sequence[str]) -> dict[str, str | None]:
    configuration: dict[str, str | None] = {
        # Every plan opens its tables anew and reads each commit since the last checkpoint.
        "delta.checkpointInterval": "20",
        # Upkeep and every compaction remove the past of the log sooner: opening and committing list what is there.
        "delta.logRetentionDuration": "interval 1 days",
        "delta.deletedFileRetentionDuration": "interval 1 days",
    }
    if statistics:
        configuration[_BOUNDS] = ",".join(statistics)
    return configuration


def _delta_schema(schema: Mapping[str, pl.DataType]) -> Schema:
    return Schema.from_arrow(pl.Schema(schema))


def _missing_columns(
    name: str, held: pl.Schema, wanted: Mapping[str, pl.DataType], keep_columns: bool
) -> dict[str, pl.DataType]:
    differences = [
        f"  {column}: {held[column]} in the table, {dtype} in the contract"
        for column, dtype in wanted.items()
        if column in held and held[column] != dtype
    ] + [
        f"  {column}: {dtype} in the table, absent from the contract"
        for column, dtype in held.items()
        if column not in wanted and not keep_columns
    ]
    if differences:
        raise LakeError(
            f"The table {name} and its contract were expected to agree; they differ:\n"
            + "\n".join(differences)
            + "\n"
            "New nullable fields are added by themselves; a breaking change needs a new lake (SPEARHEAD_LAKE) or the "
            "contract as it was. Nothing was written."
        )
    return {column: dtype for column, dtype in wanted.items() if column not in held}


def _checked(table: DeltaTable, expected: pl.Schema, frame: pl.DataFrame) -> pl.DataFrame:
    _check_types(table, expected, frame)
    return frame.select(expected.names())


def _check_types(table: DeltaTable, expected: pl.Schema, frame: pl.DataFrame) -> None:
    if dict(frame.schema) == dict(expected):
        return
    differences = [
        f"{column} ({frame.schema.get(column, 'absent')} given, {expected.get(column, 'absent')} in the table)"
        for column in sorted({*expected, *frame.schema})
        if frame.schema.get(column) != expected.get(column)
    ]
    raise LakeError(
        f"Rows for {table.table_uri} were expected in the table's exact types; they differ in: {', '.join(differences)}. "
        "Delta would cast them silently; nothing was written."
    )


def _failed(what: str, name: str, error: Exception) -> LakeError:
    text = " ".join(str(error).split())
    if "No space left" in text or "os error 28" in text:
        advice = "The disk is full: free some space or enlarge the volume, then start again."
    elif "Permission denied" in text or "Read-only" in text:
        advice = "Check who owns the lake and how it is mounted."
    else:
        advice = "Check that the lake (SPEARHEAD_LAKE) is mounted or its store answers, then start again."
    return LakeError(
        f"Could not {what} the table {name}: {text[:500]}. {advice} What was committed before is intact."
    )
