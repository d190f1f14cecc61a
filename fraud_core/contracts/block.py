"""From a block of many events (an Arrow IPC stream) to a typed frame. Types are demanded exactly, nothing is cast.

A column of another type, or one that the contract does not know, makes every row of the block a violation; bytes that are no
Arrow stream at all are one row that cannot be read. An instant or a day that no calendar date names (before year 1, after 9999) is
mistyped, as it would be in JSON, which could not even write it.
"""

import io
import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, Final, TypeAlias

import polars as pl

from fraud_core.contracts.ipc import MAX_ROWS, BadStream, Stream, check_stream
from fraud_core.contracts.model import Contract
from fraud_core.contracts.parse import Parsed
from fraud_core.contracts.rules import UNKNOWN_FIELD, UNPARSEABLE
from fraud_core.contracts.times import day_number, timestamp_us

VIRTUAL_MS = "_virtual_ms"
"""Optional Int64 column of a block: when each row became known, in a replay."""
_TOGETHER: Final = 32 << 20
"""Bytes of blocks that are read with one call."""
_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_DAYS: Final = (day_number("0001-01-01"), day_number("9999-12-31"))
_INSTANTS: Final = (timestamp_us("0001-01-01T00:00:00Z"), timestamp_us("9999-12-31T23:59:59.999999Z"))
"""The first and the last that a calendar date names, as columns hold them."""
_NAMELESS: Final = (OverflowError, ValueError, pl.exceptions.PanicException)
_BROKEN: Final = (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException)


def parse_block(contract: Contract, block: bytes) -> Parsed:
    """Read an Arrow IPC stream of the contract's columns; absent columns are null."""
    try:
        check_stream(block)
        raw = pl.read_ipc_stream(io.BytesIO(block))
    except _BROKEN:
        return unreadable(contract, block, UNPARSEABLE)
    return _parsed(contract, raw)


def parse_blocks(contract: Contract, blocks: Sequence[bytes]) -> list[tuple[list[int], Parsed]]:
    """Read blocks, those that follow one another under one schema with one call: the rows of each block, and all of them.

    What each block gives is what `parse_block` gives for it.
    """
    read: list[tuple[list[int], Parsed]] = []
    for group in _groups(blocks):
        joined = _joined(contract, group) if len(group) > 1 else None
        if joined is not None:
            read.append(([stream.rows for _, stream in group if stream is not None], joined))
            continue
        for block, _ in group:
            alone = parse_block(contract, block)
            read.append(([alone.frame.height], alone))
    return read


_Group: TypeAlias = list[tuple[bytes, Stream | None]]


def _groups(blocks: Sequence[bytes]) -> Iterator[_Group]:
    """The blocks in order: together while they are plain, of one schema and not too many, else alone."""
    group: _Group = []
    schema, size, rows = b"", 0, 0
    for block in blocks:
        try:
            stream = check_stream(block)
        except BadStream:
            stream = None
        fits = stream is not None and stream.plain
        own = block[: stream.schema_end] if stream is not None and fits else b""
        more = stream.rows if stream is not None else 0
        if group and (not fits or own != schema or size + len(block) > _TOGETHER or rows + more > MAX_ROWS):
            yield group
            group, size, rows = [], 0, 0
        if not fits:
            yield [(block, None)]
            continue
        group.append((block, stream))
        schema, size, rows = own, size + len(block), rows + more
    if group:
        yield group


def _joined(contract: Contract, group: _Group) -> Parsed | None:
    """Blocks of one schema as one stream; None where that cannot be read, and each has to be looked at alone."""
    parts = [memoryview(block)[stream.schema_end : stream.end] for block, stream in group if stream]
    first, stream = group[0]
    assert stream is not None
    try:
        raw = pl.read_ipc_stream(io.BytesIO(b"".join((first[: stream.schema_end], *parts, _END))))
    except _BROKEN:
        return None
    if raw.height != sum(stream.rows for _, stream in group if stream):
        return None
    return _parsed(contract, raw)


def _parsed(contract: Contract, raw: pl.DataFrame) -> Parsed:
    schema = contract.polars_schema()
    held = dict(raw.schema)  # asked for once: each time it is made anew
    virtual = raw[VIRTUAL_MS] if held.get(VIRTUAL_MS) == pl.Int64 else None
    if virtual is not None:
        held.pop(VIRTUAL_MS)
    found: dict[int, tuple[str, ...]] = {}
    if held == schema and list(held) == list(schema):
        frame = raw if virtual is None else raw.drop(VIRTUAL_MS)
        frame = _calendar(contract, frame, found)
        return Parsed(frame, found, lambda row: _row_json(raw, row), virtual)
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
    if codes:
        found = dict.fromkeys(range(raw.height), tuple(codes))
    frame = _calendar(contract, pl.DataFrame(columns), found)
    return Parsed(frame, found, lambda row: _row_json(raw, row), virtual)


def _calendar(contract: Contract, frame: pl.DataFrame, found: dict[int, tuple[str, ...]]) -> pl.DataFrame:
    """The frame without the instants and days that no calendar date names: they are null, and found to be mistyped."""
    for each in contract.fields:
        if each.type not in {"timestamp", "date"}:
            continue
        first, last = _INSTANTS if each.type == "timestamp" else _DAYS
        beyond = ~frame[each.name].to_physical().is_between(first, last).fill_null(True)
        if not beyond.any():
            continue
        for row in beyond.arg_true().to_list():
            found[row] = (*found.get(row, ()), f"{each.name}.type")
        frame = frame.with_columns(pl.when(~beyond).then(pl.col(each.name)).alias(each.name))
    return frame


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
    values = {column.name: value for column in frame if (value := _value(column, row)) is not None}
    values.pop(VIRTUAL_MS, None)
    return json.dumps(values, default=_plain, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "replace"
    )


def _value(column: pl.Series, row: int) -> Any:
    try:
        return column[row] if not column.dtype.is_nested() else column[row : row + 1].to_list()[0]
    except _NAMELESS:  # a time that Python has no name for stays the number that it is
        return column[row : row + 1].to_physical().to_list()[0]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        text = value.isoformat(timespec="milliseconds" if value.microsecond % 1000 == 0 else "microseconds")
        return text.replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)
