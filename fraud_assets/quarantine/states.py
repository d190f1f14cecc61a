"""How many quarantined events of a stream are open, brought back or set aside: for whoever watches."""

from dataclasses import dataclass

import polars as pl

from fraud_assets.lake import Lake, quarantine_of
from fraud_assets.quarantine.audit import DISCARDED, IDENTITY, REPLAYED, Audit
from fraud_assets.quarantine.selection import UNKNOWN_LIFE


@dataclass(frozen=True)
class StateCounts:
    """Violations of a stream by their state; duplicates are nobody's work."""

    open: int = 0
    replayed: int = 0
    discarded: int = 0


def state_counts(lake: Lake, stream: str) -> StateCounts:
    """The counts of now. Reads one narrow column, and identities only where somebody has acted."""
    if not lake.exists(quarantine_of(stream)):
        return StateCounts()
    rows = lake.scan(quarantine_of(stream)).filter(pl.col("kind") == "violation")
    every = int(rows.select(pl.len()).collect().item())
    acted = (
        Audit(lake).states().filter(pl.col("_stream") == stream, pl.col("state").is_in([REPLAYED, DISCARDED]))
    )
    if not acted.height:
        return StateCounts(open=every)
    settled = (
        rows.filter(pl.col("_offset").is_in(acted["_offset"].unique().implode()))
        .select(IDENTITY)
        .with_columns(pl.col("_incarnation").fill_null(UNKNOWN_LIFE))
        .collect()
        .join(acted.select(*IDENTITY, "state"), on=IDENTITY)
    )
    counts = dict(settled.group_by("state").len().iter_rows())
    return StateCounts(every - settled.height, counts.get(REPLAYED, 0), counts.get(DISCARDED, 0))
