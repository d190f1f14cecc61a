"""A hash of an event's body, by which a repeated event is told from another event under the same key.

Computed from stored columns and only compared within one process; it is not stable across versions of polars.
"""

import polars as pl

from fraud_core.contracts.model import Contract


def body_hash(contract: Contract, frame: pl.DataFrame) -> pl.Series:
    """One UInt64 per row over all the contract's columns; a row is equal to itself however it was read."""
    columns = []
    for each in contract.fields:
        column = pl.col(each.name)
        if each.type == "number":
            column = column + 0.0  # -0.0 and 0.0 are one number
        columns.append(column)
    return frame.select(pl.struct(columns).hash(seed=0).alias("body_hash")).to_series()


def key_of(contract: Contract) -> pl.Expr:
    """One string per row that identifies the event: its key field, or its key fields joined."""
    if len(contract.key) == 1:
        return pl.col(contract.key[0])
    texts = []
    for name in contract.key:
        column = pl.col(name)
        texts.append(
            column if contract.by_name[name].type == "string" else column.cast(pl.Int64).cast(pl.String)
        )
    return pl.concat_str(texts, separator="\x1f")
