"""Events brought back from quarantine: of all copies of one event, at most one gets into the table.

Whoever brings an event back may die between the append and noting it, and append it again; so the promise is kept
here, by the one writer of a shard. Copies of an event go to one shard and name one origin, a plan holds an origin at
most once (`reading`), and what earlier plans made of it stands in the table.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

import polars as pl
from deltalake import DeltaTable

from fraud_assets.ingestion.reading import Batch
from fraud_assets.lake import Lake
from fraud_core.contracts import Contract, body_hash
from fraud_core.errors import LogError
from fraud_core.log import Origin

NO_ORIGIN: Final = "row.replay_of"
REPLAYED_BEFORE: Final = "row.replayed_before"
REPLAY_OF: Final = "_replay_of"


def without_origin(batch: Batch) -> list[int]:
    """Rows that name an origin which is none of this stream, or that share one: an entry brings back one event."""
    times = Counter(batch.replay_of.values())
    return [
        row
        for row, text in batch.replay_of.items()
        if times[text] > 1 or not _is_of(batch.shard.stream, text)
    ]


def earlier_copies(lake: Lake, table: DeltaTable, contract: Contract, batch: Batch) -> Mapping[int, bool]:
    """Rows of the batch of which another copy stands in `table` already, and whether that has the same body."""
    if not batch.replay_of:
        return {}
    held = replayed_rows(lake, table, set(batch.replay_of.values()), list(contract.polars_schema()))
    if not held.height:
        return {}
    bodies = dict(zip(held[REPLAY_OF], body_hash(contract, held), strict=True))
    rows = [row for row, text in batch.replay_of.items() if text in bodies]
    own = body_hash(contract, batch.rows[rows])
    return {row: body == bodies[batch.replay_of[row]] for row, body in zip(rows, own.to_list(), strict=True)}


def replayed_rows(
    lake: Lake, table: DeltaTable, origins: Collection[str] | None, columns: Collection[str] = ()
) -> pl.DataFrame:
    """Rows of a table that were brought back from quarantine, of these origins or all: `_replay_of` and `columns`.

    Only days that hold such rows are read, as the statistics of the table's files tell.
    """
    [partition] = table.metadata().partition_columns
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    nulls = f"null_count.{REPLAY_OF}"
    if nulls in files.columns:  # a file without statistics may hold some
        files = files.filter((pl.col(nulls) < pl.col("num_records")).fill_null(True))
    days = files[f"partition.{partition}"].unique()
    chosen = pl.col(REPLAY_OF).is_not_null() if origins is None else pl.col(REPLAY_OF).is_in(list(origins))
    return (
        lake.scan(table)
        .filter(pl.col(partition).is_in(days.implode()), chosen)
        .select(REPLAY_OF, *(name for name in columns if name != REPLAY_OF))
        .collect()
    )


def _is_of(stream: str, text: str) -> bool:
    try:
        return Origin.parse(text).stream == stream
    except LogError:
        return False
