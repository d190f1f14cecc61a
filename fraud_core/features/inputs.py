"""From an event to integers, in two faces: a whole frame, or one JSON event. They must agree to the last unit.

Each `InputKind` has one function per face; a property test feeds both the same values. A value that is missing,
null or not finite is NULL in both.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numba import njit

from fraud_core.features.plan import (
    NULL,
    SKETCH_CELLS,
    SKETCH_LEVELS,
    VALUE_LIMIT,
    Filter,
    Input,
    InputKind,
)

Ints = np.ndarray[Any, np.dtype[np.int64]]
Reader = Callable[[Mapping[str, Any]], int]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MS = timedelta(milliseconds=1)
_TIME_LIMIT = 2**47 - 1


def hash_text(text: str) -> int:
    """Stable 32-bit hash of a value, never 0 (0 stands for "none" in stored records)."""
    return zlib.crc32(text.encode()) or 1


def sketch_cell(text: str) -> int:
    """A value's place in a sketch: its level, by the zeros that its mixed hash begins with, and its cell there."""
    h = hash_text(text)  # a checksum's bits hang together: mixed as MurmurHash3 ends
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= h >> 16
    level = min(24 - (h >> 8).bit_length(), SKETCH_LEVELS - 1)
    return level * SKETCH_CELLS + h % SKETCH_CELLS


def time_ms(value: str | datetime) -> int:
    """Milliseconds since 1970, rounded down, never negative; a time without a zone is UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - _EPOCH) // _MS, 0), _TIME_LIMIT)


# --- one JSON event -------------------------------------------------------------------------------------------


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _number_reader(scale: float) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if scale == 1.0 and isinstance(value, int):
            return min(max(int(value), -VALUE_LIMIT), VALUE_LIMIT)
        scaled = float(value) * scale
        if not math.isfinite(scaled):
            return NULL
        return round(min(max(scaled, -VALUE_LIMIT), VALUE_LIMIT))

    return read


def _digits(value: Any) -> int:
    text = _as_text(value)
    return int(text) if len(text) <= 12 and text.isascii() and text.isdigit() else NULL


def _days(value: Any) -> int:
    day = date.fromisoformat(value[:10]) if isinstance(value, str) else value
    return int(day.toordinal()) - _EPOCH_DAY


def reader(source: Input) -> Reader:
    """A function that takes `source` from a JSON event."""
    convert: Callable[[Any], int]
    match source.kind:
        case InputKind.TIME:
            convert = time_ms
        case InputKind.DATE:
            convert = _days
        case InputKind.NUMBER:
            convert = _number_reader(source.scale)
        case InputKind.FLAG:
            convert = int
        case InputKind.HASH:
            convert = _hash_any
        case InputKind.ENUM:
            places = {name: place for place, name in enumerate(source.categories)}
            convert = lambda value: places.get(value, NULL)  # noqa: E731 (one of several)
        case InputKind.DIGITS:
            convert = _digits
        case InputKind.BUCKET:
            buckets = int(source.scale)
            convert = lambda value: _hash_any(value) % buckets  # noqa: E731 (one of several)
        case InputKind.CELL:
            convert = lambda value: sketch_cell(_as_text(value))  # noqa: E731 (one of several)
    name = source.field

    def read(event: Mapping[str, Any]) -> int:
        value = event.get(name)
        return NULL if value is None else convert(value)

    return read


def _hash_any(value: Any) -> int:
    return hash_text(_as_text(value))


def matches(where: Filter, values: Mapping[Input, int]) -> bool:
    """Whether an event passes a filter, given its inputs."""
    return all(values[source] in accepted for source, accepted in where.clauses)


# --- a whole frame --------------------------------------------------------------------------------------------


class Frame:
    """The columns of a frame in the contract's types, as integers; each text column is looked through only once."""

    def __init__(self, events: pl.DataFrame) -> None:
        self.events = events
        self._coded: dict[str, tuple[Ints, list[str]]] = {}

    def coded(self, field: str) -> tuple[Ints, list[str]]:
        """A field as text: per row the place of its value in the list of different ones, -1 for null."""
        if field not in self._coded:
            self._coded[field] = _coded(self.events[field].cast(pl.String).rename("value"))
        return self._coded[field]

    def column(self, source: Input) -> Ints:
        """Take `source` from every row; a missing column is all NULL."""
        if source.field not in self.events.columns:
            return np.full(self.events.height, NULL, np.int64)
        series = self.events[source.field]
        match source.kind:
            case InputKind.TIME:
                ms = series.dt.epoch("us").to_frame("t").select(pl.col("t").floordiv(1000)).to_series()
                return _ints(ms.clip(0, _TIME_LIMIT))
            case InputKind.DATE:
                return _ints(series.cast(pl.Int32))
            case InputKind.NUMBER:
                return _numbers(series, source.scale)
            case InputKind.FLAG:
                return _ints(series)
            case InputKind.HASH:
                return self._by_value(source.field, hash_text)
            case InputKind.ENUM:
                places = {name: place for place, name in enumerate(source.categories)}
                return self._by_value(source.field, lambda text: places.get(text, NULL))
            case InputKind.DIGITS:
                return self._by_value(source.field, _digits)
            case InputKind.BUCKET:
                buckets = int(source.scale)
                return self._by_value(source.field, lambda text: hash_text(text) % buckets)
            case InputKind.CELL:
                return self._by_value(source.field, sketch_cell)

    def _by_value(self, field: str, convert: Callable[[str], int]) -> Ints:
        """Convert each different value once."""
        codes, different = self.coded(field)
        table = np.array([*[convert(value) for value in different], NULL], np.int64)
        return table[codes]


def _coded(text: pl.Series) -> tuple[Ints, list[str]]:
    """See Frame.coded. Texts are told apart by their hashes, and compared once; by themselves only where two share a hash."""
    codes, firsts = _numbered(_hashes(text), text.is_null().to_numpy())
    different = text.gather(firsts)
    places = pl.Series(codes)
    if text.null_count():
        places = places.set(places == -1, None)
    if different.gather(places).eq_missing(text).all():
        return codes, different.to_list()
    different = text.unique().drop_nulls()
    numbered = different.to_frame().with_row_index("place")
    joined = text.to_frame().join(numbered, on="value", how="left", maintain_order="left")
    return joined["place"].cast(pl.Int64).fill_null(-1).to_numpy(), different.to_list()


def _hashes(text: pl.Series) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return text.hash().to_numpy()


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _numbered(hashes: Any, absent: Any) -> Any:
    """Number the different hashes from 0, in order of appearance; -1 where absent. Returns int64[n] and where each first appears."""
    size = 16
    while size < 2 * len(hashes):
        size *= 2
    mask = np.uint64(size - 1)
    first = np.full(size, -1, np.int64)
    codes = np.full(len(hashes), -1, np.int64)
    firsts = np.empty(len(hashes), np.int64)
    different = 0
    for i in range(len(hashes)):
        if absent[i]:
            continue
        place = hashes[i] & mask
        while first[place] >= 0 and hashes[first[place]] != hashes[i]:
            place = (place + np.uint64(1)) & mask
        if first[place] < 0:
            first[place] = i
            codes[i] = different
            firsts[different] = i
            different += 1
        else:
            codes[i] = codes[first[place]]
    return codes, firsts[:different]


def _ints(series: pl.Series) -> Ints:
    return series.cast(pl.Int64).fill_null(NULL).to_numpy()


def _numbers(series: pl.Series, scale: float) -> Ints:
    if scale == 1.0 and series.dtype.is_integer():
        return _ints(series.clip(-VALUE_LIMIT, VALUE_LIMIT))
    with np.errstate(over="ignore"):  # beyond float64 is infinite, in both executions
        scaled = series.cast(pl.Float64).fill_null(np.nan).to_numpy() * scale
    finite = np.isfinite(scaled)
    rounded = np.rint(np.clip(np.where(finite, scaled, 0.0), -VALUE_LIMIT, VALUE_LIMIT)).astype(np.int64)
    return np.where(finite, rounded, NULL)


def matching(where: Filter, columns: Mapping[Input, Ints]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows pass a filter, given their inputs."""
    passed = np.ones(len(next(iter(columns.values()))), np.bool_)
    for source, accepted in where.clauses:
        passed &= np.isin(columns[source], np.array(accepted, np.int64))
    return passed
