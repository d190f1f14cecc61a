"""A file of events, read in order of time in bounded memory, with its columns as the contract's fields.

A value that cannot be read as its field's type is an error that names the row: guessing would put a wrong event on
the log. What reads well but breaks a rule of the contract is sent, for ingestion is the one judge of it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from fraud_core.contracts import Contracts
from fraud_core.errors import DataFileError
from fraud_core.replay.mapping import FieldSource, Mapping, expression

BATCH_ROWS: Final = 100_000
ROW: Final = "_row"
LABEL_PREFIX: Final = "_label_"
_READERS: Final = {".parquet": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_TIME: Final = pl.Datetime("us", "UTC")


def open_source(path: Path) -> pl.LazyFrame:
    """A lazy view of a parquet, csv or ndjson file (or a folder or pattern of parquet files).

    Raises DataFileError when it does not exist, is empty or is not what its name says.
    """
    pattern = any(sign in str(path) for sign in "*?[")
    if not pattern and not path.exists():
        raise DataFileError(f"The file {path} does not exist. Check the path.")
    kind = "parquet" if path.is_dir() else _READERS.get(path.suffix.lower())
    if kind is None:
        raise DataFileError(
            f"{path} was expected to be a .parquet, .csv, .ndjson or .jsonl file; found the ending {path.suffix!r}."
        )
    if path.is_file() and not path.stat().st_size:
        raise DataFileError(f"{path} is empty: at least one event was expected.")
    target = path / "**/*.parquet" if path.is_dir() else path
    try:
        if kind == "parquet":
            frame = pl.scan_parquet(target)
        elif kind == "csv":
            # All text: types are the contract's to say, and an error can then name its row.
            frame = pl.scan_csv(target, infer_schema=False)
        else:
            frame = pl.scan_ndjson(target, infer_schema_length=10_000)
        frame.collect_schema()
        some = frame.head(1).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataFileError(
            f"{path} cannot be read as {kind}: {_first_line(error)}. Check or convert the file."
        ) from error
    if not some.height:
        raise DataFileError(f"{path} holds no rows: at least one event was expected.")
    return frame


class Source:
    """The events of a file as rows of a contract, in order of event time."""

    def __init__(self, frame: pl.LazyFrame, contracts: Contracts, mapping: Mapping) -> None:
        self._frame = frame.with_row_index(ROW, offset=1)
        self._contract = contracts.transactions
        self._mapping = mapping
        self._types = contracts.transactions.polars_schema()
        self._label_types = contracts.labels.polars_schema()
        self._source_types = dict(frame.collect_schema())
        self.timeless: list[int] = []
        """Numbers of the rows without an event time, as far as the file was read."""

    def rows(self) -> int:
        """How many rows the file holds."""
        try:
            return int(self._frame.select(pl.len()).collect().item())
        except pl.exceptions.PolarsError as error:
            raise _unreadable(error) from error

    @contextmanager
    def batches(self) -> Iterator[Iterator[pl.DataFrame]]:
        """Batches of about BATCH_ROWS events, ordered by time within and between them; equal times keep the file's order,
        events without a time come last.

        Columns: the contract's fields that the file holds, and the label's, under LABEL_PREFIX.
        A file out of order is sorted into a temporary file first.
        """
        with tempfile.TemporaryDirectory(prefix="spearhead-replay-") as folder:
            frame = self._frame
            if not self._is_sorted():
                frame = self._sorted(frame, Path(folder))
            yield self._typed(frame)

    def _typed(self, frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        try:
            for batch in frame.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                if batch.height:
                    yield self._convert(batch)
        except pl.exceptions.PolarsError as error:
            raise _unreadable(error) from error

    def _is_sorted(self) -> bool:
        last = None
        time = pl.col(self._time_column())
        for batch in self._frame.select(ROW, time).collect_batches(
            chunk_size=BATCH_ROWS, maintain_order=True
        ):
            if not batch.height:
                continue
            times = self._column(
                batch, self._contract.event_time, self._mapping.fields[self._contract.event_time], _TIME
            )
            if times.null_count() or not times.is_sorted() or (last is not None and times[0] < last):
                return False
            last = times[-1]
        return True

    def _sorted(self, frame: pl.LazyFrame, folder: Path) -> pl.LazyFrame:
        ordered = folder / "ordered.parquet"
        source = self._mapping.fields[self._contract.event_time]
        key = _as_type(expression(source, _TIME), self._source_type(source), _TIME)
        try:
            frame.with_columns(key.alias("_time")).sort("_time", maintain_order=True, nulls_last=True).drop(
                "_time"
            ).sink_parquet(ordered, compression="lz4")
        except pl.exceptions.PolarsError as error:
            raise _unreadable(error) from error
        return pl.scan_parquet(ordered)

    def _convert(self, batch: pl.DataFrame) -> pl.DataFrame:
        columns = [
            self._column(batch, name, source, self._types[name])
            for name, source in self._mapping.fields.items()
        ]
        for name, source in self._mapping.labels.items():
            values = self._column(batch, name, source, self._label_types[name])
            columns.append(values.alias(f"{LABEL_PREFIX}{name}"))
        converted = pl.DataFrame(columns)
        self.timeless += batch[ROW].filter(converted[self._contract.event_time].is_null()).to_list()
        return converted

    def _column(self, batch: pl.DataFrame, name: str, source: FieldSource, dtype: pl.DataType) -> pl.Series:
        converted = batch.select(
            _as_type(expression(source, dtype), self._source_type(source), dtype).alias(name)
        ).to_series()
        if source.column is None:
            return converted.new_from_index(0, batch.height)
        broken = converted.is_null() & batch[source.column].is_not_null()
        if self._source_types[source.column] == pl.String:
            broken &= batch[source.column].str.strip_chars() != ""
        if broken.any():
            row = int(broken.arg_max() or 0)
            raise DataFileError(
                f"Row {batch[ROW][row]:,}: the column {source.column!r} was expected to be readable as {_words(dtype)} for "
                f"the field {name!r}; found {batch[source.column][row]!r}. Mend the row (nothing after it was sent), or map "
                f"the field to another column with --map {name}=COLUMN."
            )
        return converted

    def _source_type(self, source: FieldSource) -> pl.DataType:
        if source.column is None:
            return pl.String()
        return pl.Float64() if source.factor is not None else self._source_types[source.column]

    def _time_column(self) -> str:
        column = self._mapping.fields[self._contract.event_time].column
        if column is None:
            raise DataFileError(
                f"The event time {self._contract.event_time!r} was expected to come from a column; the mapping gives a constant."
            )
        return column


def _as_type(value: pl.Expr, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """`value` of type `found` as `wanted`, null where it cannot be read; times without an offset are UTC."""
    text = found == pl.String
    if isinstance(wanted, pl.Datetime):
        if text:
            return _time_of_text(value)
        if isinstance(found, pl.Datetime):
            utc = value.dt.convert_time_zone("UTC") if found.time_zone else value.dt.replace_time_zone("UTC")
            return utc.dt.cast_time_unit("us")
        return value.cast(pl.Datetime("us"), strict=False).dt.replace_time_zone("UTC")
    if wanted == pl.Date and text:
        return value.str.strip_chars().str.to_date(strict=False)
    if wanted == pl.Boolean:
        if text:
            words = value.str.strip_chars().str.to_lowercase()
            return (
                pl.when(words.is_in(["1", "true", "yes", "t"]))
                .then(True)
                .when(words.is_in(["0", "false", "no", "f"]))
                .then(False)
            )
        if found.is_numeric():
            return pl.when(value == 1).then(True).when(value == 0).then(False)
    if wanted.is_integer() and (text or found.is_float()):
        number = (value.str.strip_chars() if text else value).cast(pl.Float64, strict=False)
        exact = (
            value.str.strip_chars().cast(pl.Int64, strict=False)
            if text
            else number.cast(pl.Int64, strict=False)
        )
        # 12.0 is an integer, 12.5 is not: no silent rounding without a factor.
        return pl.when(number == number.round(0)).then(exact.fill_null(number.cast(pl.Int64, strict=False)))
    if text and wanted == pl.String:
        return value
    if text:
        return value.str.strip_chars().cast(wanted, strict=False)
    return value.cast(wanted, strict=False)


def _time_of_text(value: pl.Expr) -> pl.Expr:
    """ISO 8601 in its usual forms, each row on its own: with T or a space, with Z, an offset or none (UTC)."""
    text = value.str.strip_chars().str.replace("T", " ", literal=True).str.replace(r"[Zz]$", "+00:00")
    zoned = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    naive = [
        text.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC")
        for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    ]
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.coalesce(zoned, *naive, day)


def _words(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return "a time (such as 2026-09-01T12:34:56Z)"
    if dtype == pl.Date:
        return "a date (such as 2026-09-01)"
    if dtype.is_integer():
        return "a whole number"
    return {pl.Boolean(): "true or false", pl.Float64(): "a number"}.get(dtype, str(dtype))


def _unreadable(error: Exception) -> DataFileError:
    return DataFileError(
        f"The file cannot be read to its end: {_first_line(error)}. Check or convert it; see the row named."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
