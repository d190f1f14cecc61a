"""Loading a shard's uniqueness window from the lake: the last N valid events before the next plan, in their order."""

import polars as pl

from fraud_assets.ingestion.ledger import ledger_rows
from fraud_assets.ingestion.uniqueness import Identities, UniquenessWindow
from fraud_assets.lake import Lake
from fraud_core.contracts import Contract
from fraud_core.log import Shard

_GROUP = 250_000
"""Events loaded at once."""


def load_window(lake: Lake, contract: Contract, shard: Shard, table: str, size: int) -> UniquenessWindow:
    """The window of a shard whose ranges are all finished; `table` is the one that holds the contract's rows.

    The ledger tells how far back the last `size` valid events reach, so that only those files are read.
    """
    window = UniquenessWindow(size)
    for start, end in _groups(ledger_rows(lake, shard.stream, shard.number), size):
        rows = (
            lake.scan(table)
            .filter(
                pl.col("_stream") == shard.stream,
                pl.col("_shard") == shard.number,
                pl.col("_offset") > start,
                pl.col("_offset") <= end,
            )
            .select(*contract.polars_schema(), "_offset", "_index")
            .collect()
            .sort("_offset", "_index")
        )
        window.take(Identities.of(contract, rows))
    return window


def _groups(ranges: pl.DataFrame, size: int) -> list[tuple[int, int]]:
    """Offset ranges, in order, that hold at least the last `size` valid events, about `_GROUP` events each."""
    groups: list[tuple[int, int]] = []
    reached = counted = 0
    for start, end, valid in ranges.select("after", "end", "valid").reverse().iter_rows():
        if reached >= size:
            break
        if groups and counted + valid <= _GROUP:
            groups[-1] = (start, groups[-1][1])
            counted += valid
        else:
            groups.append((start, end))
            counted = valid
        reached += valid
    return groups[::-1]
