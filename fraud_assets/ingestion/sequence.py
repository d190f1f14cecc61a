"""Gaps in the entities' sequences: updates of the online state whose decision never reached the log.

Each update gets the entity's next seq, and the decision logs it; so within an epoch the logged seqs of an entity are
whole. A gap is a payment that counted online and that nobody can compute again: a request that died, or was refused,
after its state was applied. What lies before the first or after the last logged seq cannot be seen.
"""

import polars as pl

from fraud_assets.lake import Lake
from fraud_core.contracts import Contract


def unlogged_updates(lake: Lake, contract: Contract) -> dict[str, int]:
    """Missing seqs per entity kind, summed over its entities and epochs; kinds without any are absent."""
    rows = lake.scan("transactions").filter(pl.col("_epoch").is_not_null())
    missing: dict[str, int] = {}
    for entity, field in contract.entities.items():
        seq = pl.col(f"_seq_{entity}")
        gaps = (
            rows.filter(seq.is_not_null())
            .group_by("_epoch", field)
            .agg((seq.max() - seq.min() + 1 - seq.n_unique().cast(pl.Int64)).alias("missing"))
            .select(pl.col("missing").sum())
            .collect()
            .item()
        )
        if gaps:
            missing[entity] = int(gaps)
    return missing
