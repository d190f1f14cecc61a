"""How the files of a commit are written: fast where a commit is large, since compaction writes them again and smaller.

Most of a large commit's time went into dictionaries that did not pay: ids hardly repeat. A column gets one where a sample of it
does. Bounds are kept for the columns by which reads skip files, and no others: Delta's log takes them from the file.
"""

from collections.abc import Collection
from typing import Final

import polars as pl
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
