"""Typed columns from what the scanner read, and from what the careful reader read of the rows that it left out."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_core.contracts.arrow import TextColumn
from fraud_core.contracts.model import Contract, Field
from fraud_core.contracts.scanner import ABSENT, Scanned
from fraud_core.payloads import PADDING, Payloads

_NUMBER: Final = re.compile(rb"[-+.0-9eE]+")
Careful = Mapping[int, Mapping[str, Any]]
"""Values by field of the rows that were read carefully: µs, day numbers, JSON text of objects; what is absent is left out."""


def columns_of(contract: Contract, payloads: Payloads, scanned: Scanned, careful: Careful) -> pl.DataFrame:
    """The contract's columns: one row per payload, from `scanned`, or from `careful` where it has the row."""
    scanner = contract.scanner
    columns = []
    for each in contract.fields:
        slot = scanner.slots[each.name]
        if each.type == "number":
            columns.append(_reals(each, payloads, scanned.reals[slot], scanned.places[slot], careful))
        elif each.type == "array":
            columns.append(_lists(each, payloads, scanned.spans[slot], careful))
        elif each.type in {"string", "object"}:
            columns.append(_texts(each, payloads, scanned.spans[slot], careful))
        else:
            columns.append(_wholes(each, scanned.wholes[slot], careful))
    return pl.DataFrame(columns)


def _wholes(field: Field, values: npt.NDArray[np.int64], careful: Careful) -> pl.Series:
    least = False  # the least of all 64-bit numbers, which only the careful reader reads, is the one that stands for none
    for row, event in careful.items():
        value = event.get(field.name)
        if value is not None:
            values[row] = value
            least = least or value == ABSENT
    series = pl.Series(field.name, values)
    absent = values == ABSENT
    if least:
        absent[[row for row, event in careful.items() if event.get(field.name) == ABSENT]] = False
    if absent.any():
        series = series.set(pl.Series(absent), None)
    return series.cast(pl.Int32).cast(field.dtype) if field.type == "date" else series.cast(field.dtype)


def _reals(
    field: Field,
    payloads: Payloads,
    values: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64],
    careful: Careful,
) -> pl.Series:
    for row in np.flatnonzero(np.isinf(values)).tolist():
        written = _NUMBER.match(payloads.data[places[row] : payloads.ends[row]].tobytes())
        assert written is not None
        values[row] = float(written[0])
    for row, event in careful.items():
        if (value := event.get(field.name)) is not None:
            values[row] = value
    return pl.Series(field.name, values, nan_to_null=True)


def _texts(field: Field, payloads: Payloads, spans: npt.NDArray[np.int64], careful: Careful) -> pl.Series:
    from fraud_core.contracts.scan_texts import gather, text_size

    data, more = payloads.data, PADDING
    if careful:
        place, written = len(data), []
        for row, event in careful.items():
            if (value := event.get(field.name)) is not None:
                text = value.encode()
                spans[row] = place, place + len(text)
                place += len(text)
                written.append(text)
        more = b"".join((*written, PADDING))
    column = TextColumn(len(spans), text_size(spans))
    size, nulls = gather(data, np.frombuffer(more, dtype=np.uint8), spans, column.views, column.text)
    return column.series(field.name, size, spans[:, 0] != -1 if nulls else None)


def _lists(field: Field, payloads: Payloads, spans: npt.NDArray[np.int64], careful: Careful) -> pl.Series:
    data = payloads.data
    written = [data[begin:end].tobytes() if begin >= 0 else b"null" for begin, end in spans.tolist()]
    try:
        read = pl.read_ndjson(b"".join(b'{"v":%s}\n' % each for each in written), schema={"v": field.dtype})[
            "v"
        ]
    except (pl.exceptions.PolarsError, ValueError):
        read = pl.Series(dtype=field.dtype)
    if careful or read.len() != len(written):  # polars did not read exactly these lists: Python does
        values = [json.loads(each) for each in written] if read.len() != len(written) else read.to_list()
        for row, event in careful.items():
            values[row] = event.get(field.name)
        read = pl.Series(values, dtype=field.dtype)
    return read.alias(field.name)


def frame_of(contract: Contract, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
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
