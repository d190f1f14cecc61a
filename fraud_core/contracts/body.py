"""A hash of an event's body, by which a repeated event is told from another event under the same key.

Computed from typed columns and only compared within one process: each draws secrets of its own, so that nobody can make two bodies of
one hash. A row is equal to itself however it was read.
"""

import secrets
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.contracts.arrow_reading import VIEWED, arrays_of
from fraud_core.contracts.model import Contract

_SECRET: Final = np.array([secrets.randbits(64), secrets.randbits(64)], dtype=np.uint64)
_BITS: Final = {pl.Boolean: 1, pl.Date: 32, pl.Int32: 32, pl.Int64: 64, pl.Float64: 64, pl.Datetime: 64}


def body_hash(contract: Contract, frame: pl.DataFrame) -> pl.Series:
    """One UInt64 per row over all the contract's columns."""
    hashes = np.zeros(frame.height, dtype=np.uint64)
    for each in contract.fields:
        _mix(frame[each.name], hashes)
    return pl.Series("body_hash", hashes)


def _mix(column: pl.Series, hashes: NDArray[np.uint64]) -> None:
    from fraud_core.contracts.body_pass import mix_numbers, mix_texts

    dtype = column.dtype
    bits = _BITS.get(dtype.base_type())
    if dtype != pl.String and bits is None:  # lists: polars hashes them
        column, bits = pl.select(pl.struct(column).hash()).to_series(), 64
    begin = 0
    for array in arrays_of(column):
        part = hashes[begin : begin + array.length]
        present = array.place(0) if array.null_count else 0
        if bits is None:
            mix_texts(present, array.place(1), array.buffers + VIEWED, array.offset, _SECRET, part)
        else:
            mix_numbers(present, array.place(1), bits, array.offset, dtype == pl.Float64, _SECRET, part)
        begin += array.length
    if begin != len(hashes):
        raise RuntimeError(f"polars lent {begin} of the {len(hashes)} values of {column.name}")


def key_of(contract: Contract) -> pl.Expr:
    """One string per row that identifies the event: its key field, or its key fields joined."""
    if len(contract.key) == 1:
        return pl.col(contract.key[0])
    texts = []
    for name in contract.key:
        column, kind = pl.col(name), contract.by_name[name].type
        if kind == "number":  # -0.0 and 0.0 are one number
            column = pl.when(column == 0.0).then(0.0).otherwise(column).cast(pl.String)
        elif kind != "string":
            column = column.cast(pl.Int64).cast(pl.String)
        texts.append(column)
    return pl.concat_str(texts, separator="\x1f")
