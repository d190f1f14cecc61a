"""Loading a shard's uniqueness window from the lake: the last N valid events before the next plan, in their order."""

from dataclasses import replace

import polars as pl

from fraud_assets.ingestion.ledger import ledger_rows
from fraud_assets.ingestion.uniqueness import Identities, UniquenessWindow
from fraud_assets.lake import Lake, rows_of
from fraud_core.contracts import Contract
from fraud_core.log import Shard

_GROUP = 250_000
"""Events loaded at once."""


def load_window(lake: Lake, contract: Contract, shard: Shard, table: str, size: int) -> UniquenessWindow:
    """The window of a shard whose ranges are all finished; `table` is the one that holds the contract's rows.

    The ledger tells how far back the last `size` valid events reach, into former lives of the log too, so that only those
    files are read.
    """
    window = UniquenessWindow(size)
    for life, start, end in _groups(ledger_rows(lake, shard.stream, shard.number), size):
        rows = (
            lake.scan(table)
            .filter(
                rows_of(replace(shard, incarnation=life)), pl.col("_offset") > start, pl.col("_offset") <= end
            )
            .select(*contract.polars_schema(), "_offset", "_index")
            .collect()
            .sort("_offset", "_index")
        )
        window.take(Identities.of(contract, rows))
    return window


def _groups(ranges: pl.DataFrame, size: int) -> list[tuple[str, int, int]]:
    """Incarnation and offset range, in order, that hold at least the last `size` valid events, about `_GROUP` each."""
    groups: list[tuple[str, int, int]] = []
    reached = counted = 0
    for life, start, end, valid in (
        ranges.select("incarnation", "start", "end", "valid").reverse().iter_rows()
    ):
        if reached >= size:
            break
        if groups and groups[-1][0] == life and counted + valid <= _GROUP:
            groups[-1] = (life, start, groups[-1][2])
            counted += valid
        else:
            groups.append((life, start, end))
            counted = valid
        reached += valid
    return groups[::-1]
