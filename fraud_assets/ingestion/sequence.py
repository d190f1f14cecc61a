"""Gaps in the entities' sequences: updates of the online state whose decision never reached the log.

Each update gets the entity's next seq, and the decision logs it; so within an epoch the logged seqs of an entity are
whole. A gap is a payment that counted online and that nobody can compute again: a request that died, or was refused,
after its state was applied. What lies before the first or after the last logged seq cannot be seen.

A state that nobody touched for longer than its horizon expires, and the entity's seq starts again at 1 in the same
epoch: a *life* of its state ends. Lives are told apart by what became known after a long pause with a seq that is not
larger than the last one; within a life a pause breaks nothing.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from fraud_assets.lake import Lake
from fraud_core.contracts import Contract
from fraud_core.features.order import RESTART_SHARE

_PIECE: Final = 4_000_000
"""Updates looked at together, about: memory does not grow with the table."""


def unlogged_updates(lake: Lake, contract: Contract, horizons: dict[str, timedelta]) -> dict[str, int]:
    """Missing seqs per entity kind, summed over its entities, epochs and lives; kinds without any are absent.

    `horizons`: entity kind to how long its state remembers; a kind that is not named never starts again.
    """
    table = lake.table("transactions")
    rows = lake.scan(table).filter(pl.col("_epoch").is_not_null())
    pieces = -(-int(rows.select(pl.len()).collect().item()) // _PIECE)
    missing: dict[str, int] = {}
    for entity, field in contract.entities.items():
        seq = pl.col(f"_seq_{entity}")
        found = 0
        for piece in range(pieces):  # an entity's updates are in one
            mine = rows.filter(seq.is_not_null(), pl.col(field).hash() % pieces == piece).select(
                "_epoch", pl.col(field).alias("id"), seq.alias("seq"), "known_at"
            )
            gaps = _lives(mine, horizons.get(entity)).select(
                (pl.col("last") - pl.col("first") + 1 - pl.col("seqs")).sum()
            )
            found += int(gaps.collect().item())
        if found:
            missing[entity] = found
    return missing


def _lives(rows: pl.LazyFrame, horizon: timedelta | None) -> pl.LazyFrame:
    """Per epoch, entity and life of its state: `first` and `last` seq, and how many different `seqs`."""
    mine = ["_epoch", "id"]
    if horizon is None:
        runs = rows.with_columns(run=pl.lit(0))
    else:
        pause = pl.col("known_at").diff().over(mine, order_by="known_at") > horizon * RESTART_SHARE
        begins = pause.fill_null(value=False).cast(pl.Int64)
        runs = rows.sort("known_at").with_columns(run=begins.cum_sum().over(mine, order_by="known_at"))
    bounds = (
        runs.group_by(*mine, "run")
        .agg(
            pl.col("seq").min().alias("low"),
            pl.col("seq").max().alias("high"),
            pl.col("seq").n_unique().alias("seqs"),
        )
        .sort(*mine, "run")
        .with_columns(
            starts_again=(pl.col("low") <= pl.col("high").shift().over(mine)).fill_null(value=False)
        )
        .with_columns(life=pl.col("starts_again").cast(pl.Int64).cum_sum().over(mine))
    )
    return bounds.group_by(*mine, "life").agg(
        pl.col("low").min().alias("first"),
        pl.col("high").max().alias("last"),
        pl.col("seqs").cast(pl.Int64).sum().alias("seqs"),
    )
