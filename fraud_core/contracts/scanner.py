"""A strict structural scanner of JSON events: one compiled pass over the bytes that reads every row whose meaning is plain.

It reads a row only where each key is known and unrepeated and each value is written as its type demands; every other row
(escaped keys, odd numbers, lone surrogates, values of another type) is read by the careful path instead. Nothing is
cast: a number in a text column, an unknown or repeated field, a second event behind an inner newline are never read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fraud_core.payloads import Payloads

if TYPE_CHECKING:
    from fraud_core.contracts.model import Contract, Field

CLEAN, CAREFUL, CLEAN_IF_UTF8 = 0, 1, 2
ABSENT = np.iinfo(np.int64).min
"""Stands for a null whole number, truth value, instant or day; no number with more than 18 digits is read here."""

DEEPEST = 60
"""Levels of an object that is read. With no limit, the room that the reader's caller left on the stack would decide."""

_KINDS = {"string": 0, "integer": 1, "number": 2, "boolean": 3, "timestamp": 4, "date": 5, "object": 6}
_STRINGS, NUMBERS = 7, 8
_WHOLE = {"integer", "boolean", "timestamp", "date"}


@dataclass(frozen=True)
class Scanned:
    """What was read of each row. The first index is the field's slot, the second the row."""

    status: npt.NDArray[np.uint8]
    """CLEAN, CAREFUL (not read), CLEAN_IF_UTF8 (read, if its bytes are UTF-8 at all)."""
    wholes: npt.NDArray[np.int64]
    """Whole numbers, 0 or 1, µs or days since 1970; ABSENT where there is none."""
    reals: npt.NDArray[np.float64]
    """Numbers; NaN where there is none, infinite where `places` says where to read the number digit by digit."""
    places: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    """Where a text, an object or a list begins and ends; -1: there is none; below: -2 - begin of a text with escapes."""

    def leave_out(self, rows: Iterable[int]) -> None:
        """Forget what was read of these rows: the careful reader has them."""
        which = list(rows)
        self.wholes[:, which], self.reals[:, which], self.spans[:, which, 0] = ABSENT, np.nan, -1


class Scanner:
    """The scanner for one contract's fields; `slots` says which row of which array a field has."""

    def __init__(self, contract: "Contract") -> None:
        self.whole_fields = [field for field in contract.fields if field.type in _WHOLE]
        self.real_fields = [field for field in contract.fields if field.type == "number"]
        self.span_fields = [field for field in contract.fields if field.type in {"string", "object", "array"}]
        self.slots = {
            field.name: slot
            for group in (self.whole_fields, self.real_fields, self.span_fields)
            for slot, field in enumerate(group)
        }
        quoted = [field.name.encode() + b'"' for field in contract.fields]
        padded = [name.ljust(-len(name) % 8 + len(name), b"\0") for name in quoted]
        words = np.frombuffer(b"".join(padded), dtype="<u8")
        bytes_of_names = np.frombuffer(b"".join(padded), dtype=np.uint8)
        self._names = (
            words,
            (np.where(bytes_of_names == 0, 0, 255).astype(np.uint8)).view("<u8"),
            np.cumsum([0, *(len(name) // 8 for name in padded)], dtype=np.int64),
            np.array([len(name) for name in quoted], dtype=np.int64),
            np.array([_kind(field) for field in contract.fields], dtype=np.uint8),
            np.array([self.slots[field.name] for field in contract.fields], dtype=np.int64),
        )

    def scan(self, payloads: Payloads) -> Scanned:
        """Scan every payload."""
        from fraud_core.contracts.scan import (
            scan_rows,
        )  # numba takes a second to import; only readers of bytes pay

        rows = len(payloads)
        wholes = np.full((len(self.whole_fields), rows), ABSENT, dtype=np.int64)
        reals = np.full((len(self.real_fields), rows), np.nan)
        places = np.empty((len(self.real_fields), rows), dtype=np.int64)
        spans = np.full((len(self.span_fields), rows, 2), -1, dtype=np.int64)
        status = scan_rows(
            payloads.data, payloads.starts, payloads.ends, self._names, wholes, reals, places, spans
        )
        return Scanned(status, wholes, reals, places, spans)


def _kind(field: "Field") -> int:
    if field.type == "array":
        return _STRINGS if field.item_type == "string" else NUMBERS
    return _KINDS[field.type]
