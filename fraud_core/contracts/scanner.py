"""A strict structural scanner of JSON events: one compiled pass over the bytes that finds every row which the fast
reader would misread.

polars reads well-formed rows fast but is too kind to others: it turns numbers in text columns into text, ignores unknown
and repeated fields and splits a payload at an inner newline. The scanner lets a row through only where each key is known and
unrepeated and each value is written as its type demands; every other row (escaped keys, odd numbers, lone surrogates)
is read by the careful path instead. It reads timestamps and dates itself while it is there.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fraud_core.contracts.model import Contract

CLEAN, CAREFUL, CLEAN_IF_UTF8 = 0, 1, 2
ABSENT = np.iinfo(np.int64).min
"""Stands for a null instant or day."""
PADDING = b"\n" * 64
"""What must follow the scanned text: the scanner looks a few bytes ahead without asking where the text ends."""

_KINDS = {"string": 0, "integer": 1, "number": 2, "boolean": 3, "timestamp": 4, "date": 5, "object": 6}
_STRINGS, NUMBERS = 7, 8


class Scanner:
    """The scanner for one contract's fields."""

    def __init__(self, contract: "Contract") -> None:
        encoded = [field.name.encode() for field in contract.fields]
        self._names = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._kinds = np.array(
            [
                (_STRINGS if field.item_type == "string" else NUMBERS)
                if field.type == "array"
                else _KINDS[field.type]
                for field in contract.fields
            ],
            dtype=np.uint8,
        )
        self.time_fields = [field for field in contract.fields if field.type in {"timestamp", "date"}]
        self.object_fields = [field for field in contract.fields if field.type == "object"]
        slots = {field.name: slot for slot, field in enumerate(self.time_fields)}
        slots |= {field.name: slot for slot, field in enumerate(self.object_fields)}
        self._slots = np.array([slots.get(field.name, 0) for field in contract.fields], dtype=np.int64)

    def scan(
        self, text: bytes, ends: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Scan rows that are joined by newlines and followed by PADDING; `ends` are the positions of those newlines.

        Returns per row its status, per time field and row the instant (µs) or day, and per object field and row where
        its text begins and ends (-1: absent).
        """
        from fraud_core.contracts.scan import (
            scan_rows,
        )  # numba takes a second to import; only readers of bytes pay

        times = np.full((len(self.time_fields), ends.size), ABSENT, dtype=np.int64)
        spans = np.full((len(self.object_fields), ends.size, 2), -1, dtype=np.int64)
        data = np.frombuffer(text, dtype=np.uint8)
        status = scan_rows(data, ends, self._names, self._bounds, self._kinds, self._slots, times, spans)
        return status, times, spans
