"""From payload bytes to a typed frame, without a silent cast.

Well-formed rows go through the scanner and polars' JSON reader, a chunk at a time; the others, and only those, are read
one by one by Python's strict reader. Both give the same columns, and the careful one says what is wrong.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_core.contracts.judge import Reasons
from fraud_core.contracts.model import Contract
from fraud_core.contracts.rules import REPEATED_FIELD, UNPARSEABLE
from fraud_core.contracts.scanner import ABSENT, CAREFUL, CLEAN_IF_UTF8, PADDING

CHUNK_ROWS = 16_384


@dataclass(frozen=True)
class Parsed:
    """Rows in the order of their payloads. `found` holds, by position, the reasons that reading gave: a row in it is a
    violation, its unreadable values are null in `frame`."""

    frame: pl.DataFrame
    found: Reasons
    payload: Callable[[int], bytes] = field(repr=False)
    """The bytes of a row as they came; of a row of a block, the row as JSON."""
    virtual_ms: pl.Series | None = None
    """The times that a block gives its rows to be known at in a replay, if it does."""


def parse_json(contract: Contract, payloads: Sequence[bytes]) -> Parsed:
    """Read one JSON event per payload into the contract's columns, row for row."""
    found: dict[int, tuple[str, ...]] = {}
    frames: list[pl.DataFrame] = []
    for begin in range(0, len(payloads), CHUNK_ROWS):
        frame, reasons = _chunk(contract, payloads[begin : begin + CHUNK_ROWS])
        frames.append(frame)
        found.update((begin + row, codes) for row, codes in reasons.items())
    whole = pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema=contract.polars_schema())
    return Parsed(whole, found, payloads.__getitem__)


def _chunk(contract: Contract, payloads: Sequence[bytes]) -> tuple[pl.DataFrame, Reasons]:
    text = b"\n".join((*payloads, PADDING))
    ends = np.cumsum(np.fromiter(map(len, payloads), np.int64, len(payloads)) + 1) - 1
    status, times, spans = contract.scanner.scan(text, ends)
    for row in np.flatnonzero(status == CLEAN_IF_UTF8).tolist():
        if not _is_utf8(payloads[row]):
            status[row] = CAREFUL
    careful = status == CAREFUL
    if not careful.any():
        frame = _read_fast(contract, text, len(payloads), times, spans)
        return (frame, {}) if frame is not None else _bisect(contract, payloads)
    clean_rows, careful_rows = np.flatnonzero(~careful), np.flatnonzero(careful)
    slow, reasons = read_carefully(contract, [payloads[row] for row in careful_rows.tolist()])
    found = {int(careful_rows[row]): codes for row, codes in reasons.items()}
    if not clean_rows.size:
        return slow, found
    clean = [payloads[row] for row in clean_rows.tolist()]
    moved = _moved(spans, ends, clean_rows, clean)
    fast = _read_fast(contract, b"\n".join(clean), len(clean), times[:, clean_rows], moved)
    if fast is None:
        return _bisect(contract, payloads)
    order = np.empty(len(payloads), dtype=np.int64)
    order[clean_rows] = np.arange(clean_rows.size)
    order[careful_rows] = clean_rows.size + np.arange(careful_rows.size)
    return pl.concat([fast, slow])[order], found


def _bisect(contract: Contract, payloads: Sequence[bytes]) -> tuple[pl.DataFrame, Reasons]:
    """For rows that the scanner let through and polars refused: halve until the culprit stands alone."""
    if len(payloads) == 1:
        return read_carefully(contract, payloads)
    middle = len(payloads) // 2
    left, found = _chunk(contract, payloads[:middle])
    right, more = _chunk(contract, payloads[middle:])
    return pl.concat([left, right]), {**found, **{middle + row: codes for row, codes in more.items()}}


def _moved(
    spans: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    kept: Sequence[bytes],
) -> npt.NDArray[np.int64]:
    """Spans of the kept rows, as positions in the text that holds only those."""
    chosen = spans[:, rows]
    sizes = np.fromiter(map(len, kept), np.int64, len(kept))
    shift = (np.cumsum(sizes + 1) - 1) - ends[rows]
    return np.where(chosen >= 0, chosen + shift[None, :, None], chosen)


def _read_fast(
    contract: Contract, text: bytes, height: int, times: npt.NDArray[np.int64], spans: npt.NDArray[np.int64]
) -> pl.DataFrame | None:
    """Rows that the scanner let through; None where polars does not read exactly those rows."""
    scanner = contract.scanner
    own = {each.name for each in (*scanner.time_fields, *scanner.object_fields)}
    schema = {name: dtype for name, dtype in contract.polars_schema().items() if name not in own}
    try:
        frame = pl.read_ndjson(text, schema=schema) if schema else pl.DataFrame(height=height)
    except (pl.exceptions.PolarsError, ValueError):
        return None
    if frame.height != height:
        return None
    columns = [instants(each.name, times[slot], each.dtype) for slot, each in enumerate(scanner.time_fields)]
    for slot, each in enumerate(scanner.object_fields):
        values = [text[begin:end].decode() if begin >= 0 else None for begin, end in spans[slot].tolist()]
        columns.append(pl.Series(each.name, values, dtype=pl.String))
    return frame.with_columns(columns).select(list(contract.polars_schema()))


def instants(name: str, values: npt.NDArray[np.int64], dtype: pl.DataType) -> pl.Series:
    """A timestamp or date column from µs or day numbers, null where ABSENT."""
    series = pl.Series(name, values)
    if (values == ABSENT).any():
        series = series.set(series == ABSENT, None)
    return series.cast(pl.Int32).cast(dtype) if dtype == pl.Date else series.cast(dtype)


def read_carefully(contract: Contract, payloads: Iterable[bytes]) -> tuple[pl.DataFrame, Reasons]:
    """Read payloads one by one; what cannot be read is null and has a reason."""
    rows: list[Mapping[str, Any]] = []
    found: dict[int, tuple[str, ...]] = {}
    for row, payload in enumerate(payloads):
        values, codes = read_event(contract, payload)
        rows.append(values)
        if codes:
            found[row] = tuple(codes)
    return typed_frame(contract, rows), found


def typed_frame(contract: Contract, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame of the contract's columns from values as `EventCheck.read` types them (µs, day numbers)."""
    columns: list[pl.Series] = []
    for each in contract.fields:
        values = [row.get(each.name) for row in rows]
        if each.type in {"timestamp", "date"}:
            number = pl.Int32() if each.type == "date" else pl.Int64()
            columns.append(pl.Series(each.name, values, dtype=number).cast(each.dtype))
        else:
            columns.append(pl.Series(each.name, values, dtype=each.dtype))
    return pl.DataFrame(columns)


def read_event(contract: Contract, payload: bytes) -> tuple[dict[str, Any], list[str]]:
    """Typed values of one payload and the reasons that reading it gives."""
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        event = dict(items)
        repeated = len(event) != len(items)  # the outermost object is the last to be built
        return event

    try:
        event = json.loads(payload.decode(), object_pairs_hook=pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {}, [UNPARSEABLE]
    if not isinstance(event, dict):
        return {}, [UNPARSEABLE]
    values, codes = contract.event_check.read(event)
    return values, [REPEATED_FIELD, *codes] if repeated else codes


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
