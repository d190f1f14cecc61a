"""From payload bytes to a typed frame, without a silent cast.

Well-formed rows are read by the scanner, one compiled pass over the bytes; the others, and only those, one by one by Python's
strict reader. Both give the same values, and the careful one says what is wrong.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from fraud_core.contracts.columns import columns_of, frame_of
from fraud_core.contracts.judge import Reasons
from fraud_core.contracts.model import Contract
from fraud_core.contracts.rules import REPEATED_FIELD, UNPARSEABLE
from fraud_core.contracts.scanner import CLEAN_IF_UTF8
from fraud_core.payloads import Payloads

CHUNK_ROWS = 16_384
"""Rows scanned at once: what they fill stays in the processor's cache."""


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
    whole = Payloads.of(payloads)
    found: dict[int, tuple[str, ...]] = {}
    frames: list[pl.DataFrame] = []
    for begin in range(0, len(whole), CHUNK_ROWS):
        frame, reasons = _chunk(contract, whole[begin : begin + CHUNK_ROWS])
        frames.append(frame)
        found.update((begin + row, codes) for row, codes in reasons.items())
    rows = pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema=contract.polars_schema())
    return Parsed(rows, found, whole.__getitem__)


def _chunk(contract: Contract, payloads: Payloads) -> tuple[pl.DataFrame, Reasons]:
    scanned = contract.scanner.scan(payloads)
    doubtful = np.flatnonzero(scanned.status != 0).tolist()
    careful: dict[int, Mapping[str, Any]] = {}
    found: dict[int, tuple[str, ...]] = {}
    for row in doubtful:
        if scanned.status[row] == CLEAN_IF_UTF8 and _is_utf8(payloads[row]):
            continue
        careful[row], codes = read_event(contract, payloads[row])
        if codes:
            found[row] = tuple(codes)
    scanned.leave_out(careful)
    return columns_of(contract, payloads, scanned, careful), found


def read_carefully(contract: Contract, payloads: Iterable[bytes]) -> tuple[pl.DataFrame, Reasons]:
    """Read payloads one by one; what cannot be read is null and has a reason."""
    rows: list[Mapping[str, Any]] = []
    found: dict[int, tuple[str, ...]] = {}
    for row, payload in enumerate(payloads):
        values, codes = read_event(contract, payload)
        rows.append(values)
        if codes:
            found[row] = tuple(codes)
    return frame_of(contract, rows), found


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
