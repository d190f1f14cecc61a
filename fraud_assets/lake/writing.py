"""How the files of a commit are written: fast where a commit is large, since compaction writes them again and smaller.

Most of a large commit's time went into dictionaries that did not pay: ids hardly repeat. A column gets one where a sample of it
does. Bounds are kept for the columns by which reads skip files, and no others: Delta's log takes them from the file.
"""

from collections.abc import Collection, Iterator
from typing import Final

import polars as pl
from arro3.core import RecordBatch, RecordBatchReader
from arro3.core import Schema as ArrowSchema
from deltalake import ColumnProperties, WriterProperties

COMPACT: Final = WriterProperties(compression="ZSTD", compression_level=3)
"""For small commits and for compaction: a dictionary wherever it fits, bounds of everything."""
_LARGE: Final = 20_000
_SAMPLE: Final = 4_096
_REPEATS: Final = 16
"""Rows per value from which a dictionary pays."""


def writer_for(frame: pl.DataFrame, bounds: Collection[str]) -> WriterProperties:
    """Properties for writing `frame`; `bounds` names the columns whose bounds are wanted, none: all of them."""
    if frame.height < _LARGE:
        return COMPACT
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    distinct = frame.head(_SAMPLE).select(pl.col(name).n_unique() for name in texts).row(0) if texts else ()
    repeating = {name for name, values in zip(texts, distinct, strict=True) if values * _REPEATS <= _SAMPLE}
    return WriterProperties(
        compression="ZSTD",
        compression_level=1,
        default_column_properties=ColumnProperties(
            dictionary_enabled=False, statistics_enabled="NONE" if bounds else "CHUNK"
        ),
        column_properties={
            name: ColumnProperties(
                dictionary_enabled=name in repeating,
                statistics_enabled="CHUNK" if not bounds or name in bounds else "NONE",
            )
            for name in {*repeating, *bounds}
            if name in frame.columns
        },
    )


class FrameStream:
    """Frames that the writer takes one by one; a failure to make one is kept, since the writer would make words of it."""

    def __init__(self, schema: pl.Schema, frames: Iterator[pl.DataFrame]) -> None:
        self._schema, self._frames = schema, frames
        self.failure: Exception | None = None

    def reader(self) -> RecordBatchReader:
        """The frames as Arrow's stream of batches; once."""
        return RecordBatchReader.from_batches(ArrowSchema.from_arrow(self._schema), self._batches())

    def _batches(self) -> Iterator[RecordBatch]:
        try:
            for frame in self._frames:
                yield RecordBatch.from_arrow(frame.rechunk())
        except Exception as error:  # the writer, who takes the frames, would keep its words alone
            self.failure = error
            raise
