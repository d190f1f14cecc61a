"""From a block of many events (an Arrow IPC stream) to a typed frame. Types are demanded exactly, nothing is cast.

A column of another type, or one that the contract does not know, makes every row of the block a violation; bytes that are no
Arrow stream at all are one row that cannot be read.
"""

import io
import json
from datetime import date, datetime
from typing import Any

import polars as pl

from fraud_core.contracts.ipc import check_stream
from fraud_core.contracts.model import Contract
from fraud_core.contracts.parse import Parsed
from fraud_core.contracts.rules import UNKNOWN_FIELD, UNPARSEABLE

VIRTUAL_MS = "_virtual_ms"
"""Optional Int64 column of a block: when each row became known, in a replay."""


def parse_block(contract: Contract, block: bytes) -> Parsed:
    """Read an Arrow IPC stream of the contract's columns; absent columns are null."""
    schema = contract.polars_schema()
    try:
        check_stream(block)
        raw = pl.read_ipc_stream(io.BytesIO(block))
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException):
        return unreadable(contract, block, UNPARSEABLE)
    held = dict(raw.schema)  # asked for once: each time it is made anew
    virtual = raw[VIRTUAL_MS] if held.get(VIRTUAL_MS) == pl.Int64 else None
    if virtual is not None:
        held.pop(VIRTUAL_MS)
    if held == schema and list(held) == list(schema):
        frame = raw if virtual is None else raw.drop(VIRTUAL_MS)
        return Parsed(frame, {}, lambda row: _row_json(raw, row), virtual)
    codes: list[str] = []
    if not held.keys() <= schema.keys():
        codes.append(UNKNOWN_FIELD)
    columns: list[pl.Series] = []
    for name, dtype in schema.items():
        if held.get(name) == dtype:
            columns.append(raw[name])
            continue
        if name in held:
            codes.append(f"{name}.type")
        columns.append(pl.repeat(None, raw.height, dtype=dtype, eager=True).alias(name))
    found = dict.fromkeys(range(raw.height), tuple(codes)) if codes else {}
    return Parsed(pl.DataFrame(columns), found, lambda row: _row_json(raw, row), virtual)


def write_block(frame: pl.DataFrame) -> bytes:
    """A frame as one block: an Arrow IPC stream, compressed."""
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compression="zstd", compat_level=pl.CompatLevel.newest())
    return buffer.getvalue()


def unreadable(contract: Contract, payload: bytes, code: str) -> Parsed:
    """One row without a value, for bytes that cannot be read for the reason `code`."""
    schema = contract.polars_schema()
    frame = pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in schema.items()})
    return Parsed(frame, {0: (code,)}, lambda _row: payload)


def _row_json(frame: pl.DataFrame, row: int) -> bytes:
    values = {name: value for name, value in frame.row(row, named=True).items() if value is not None}
    values.pop(VIRTUAL_MS, None)
    return json.dumps(values, default=_plain, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "replace"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        text = value.isoformat(timespec="milliseconds" if value.microsecond % 1000 == 0 else "microseconds")
        return text.replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)
