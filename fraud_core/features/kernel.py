"""Everything fractional, once: the arithmetic that turns integers from event and state into float32 features.

One compiled function serves both executions, so parity needs only equal integers. Its formulas use + - * / and
square root, which IEEE 754 fixes to the last bit; distances go through sin, cos and asin, and are rounded to whole
metres before anything follows from them. All formulas stay in this file: numba's cache watches no other.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from fraud_core.features.plan import (
    MAX_COLUMNS,
    MAX_NODES,
    NULL,
    SKETCH_CELLS,
    SKETCH_DIGIT,
    SKETCH_DIGITS,
    SKETCH_LEVELS,
    Op,
)

KERNEL_VERSION = 2
"""Part of every feature's hash: raise it when a formula here changes."""

NONE = -1
_HEAD = 1 + MAX_COLUMNS + MAX_NODES
STEP_WIDTH = _HEAD + 3
"""A step: op, columns, nodes, then the number of guards and up to two of them."""
MAX_GUARDS = 2

_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_EARTH_RADIUS_M = 6_371_008.8
_MICRO_RADIANS = math.pi / 180e6

_VALUE, _HOUR, _WEEKDAY, _NIGHT, _DIFFERENCE = (
    int(op) for op in (Op.VALUE, Op.HOUR, Op.WEEKDAY, Op.NIGHT, Op.DIFFERENCE)
)
_MEAN, _STD, _ZSCORE, _RATIO, _ELAPSED = (
    int(op) for op in (Op.MEAN, Op.STD, Op.ZSCORE, Op.RATIO, Op.ELAPSED)
)
_DISTANCE, _SPEED, _DIFFERS, _PRESENT, _FIRST = (
    int(op) for op in (Op.DISTANCE, Op.SPEED, Op.DIFFERS, Op.PRESENT, Op.FIRST)
)
_DAYS, _SHARE, _QUANTILE, _ESTIMATE = (int(op) for op in (Op.DAYS, Op.SHARE, Op.QUANTILE, Op.ESTIMATE))

_SPREAD_LIMIT = 2.0**61
_LIMB_BITS = 30
_LIMB_MASK = 2**_LIMB_BITS - 1
_CROWDED = SKETCH_CELLS * 9 // 10
"""Above this many met cells a level tells too little, and the next one, with half the values, is asked."""


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _metres(lat_a: int, lon_a: int, lat_b: int, lon_b: int) -> float:
    """Great-circle distance (haversine) of two places in micro-degrees, in whole metres."""
    phi_a = lat_a * _MICRO_RADIANS
    phi_b = lat_b * _MICRO_RADIANS
    sin_lat = math.sin((phi_b - phi_a) / 2.0)
    sin_lon = math.sin((lon_b - lon_a) * _MICRO_RADIANS / 2.0)
    h = sin_lat * sin_lat + math.cos(phi_a) * math.cos(phi_b) * sin_lon * sin_lon
    return math.floor(2.0 * _EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, h))) + 0.5)


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _spread(count: int, total: int, high: int, low: int) -> float:
    """count · Σx² - (Σx)², the cancellation done in integers: 2^40-limbs of both, subtracted before any rounding."""
    if max(abs(float(total)) * 2048.0, float(count) * float(max(high, abs(low), 1))) > _SPREAD_LIMIT:
        return _wide_spread(count, total, high, low)
    p = total >> 20
    q = total & 0xFFFFF
    cross = 2 * p * q
    square_high = p * p + (cross >> 20)
    square_low = ((cross & 0xFFFFF) << 20) + q * q
    spread = float(count * high - square_high) * 1099511627776.0 + float(count * low - square_low)
    return max(spread, 0.0)


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _wide_spread(count: int, total: int, high: int, low: int) -> float:
    """The same where products leave 64 bits, as for the totals of a busy ring: in limbs of 2^30."""
    high += low >> 40
    low &= 0xFFFFFFFFFF
    size = abs(total)
    counts = (count & _LIMB_MASK, count >> _LIMB_BITS)
    sums = (size & _LIMB_MASK, size >> _LIMB_BITS)
    squares = (
        low & _LIMB_MASK,
        (low >> 30) | ((high & 0xFFFFF) << 10),
        (high >> 20) & _LIMB_MASK,
        high >> 50,
    )
    limbs = np.zeros(7, np.int64)
    for i in range(2):
        for j in range(4):
            limbs[i + j] += counts[i] * squares[j]
        for j in range(2):
            limbs[i + j] -= sums[i] * sums[j]
    for i in range(6):
        limbs[i + 1] += limbs[i] >> _LIMB_BITS
        limbs[i] &= _LIMB_MASK
    spread = 0.0
    for i in range(6, -1, -1):
        spread = spread * 1073741824.0 + limbs[i]
    return max(spread, 0.0)


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _met_cells(parts: Any, level: int) -> Any:
    """Cells that a sketch's level met: digit `level` of its packed integers."""
    return (parts[level // SKETCH_DIGITS] // SKETCH_DIGIT ** (level % SKETCH_DIGITS)) % SKETCH_DIGIT


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _estimate(parts: Any) -> float:
    """Different values behind a sketch, in whole numbers: Estan, Varghese, Fisk, "Bitmap algorithms", 2003, section 4.2.

    The first level that is not crowded and those after it saw every 2^level-th value; each counts its own linearly.
    """
    base = 0
    while base < SKETCH_LEVELS - 1 and _met_cells(parts, base) > _CROWDED:
        base += 1
    seen = 0.0
    for level in range(base, SKETCH_LEVELS):
        free = max(SKETCH_CELLS - _met_cells(parts, level), 0.5)
        seen += SKETCH_CELLS * math.log(SKETCH_CELLS / free)
    return math.floor(seen * 2.0**base + 0.5)


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def evaluate(columns: Any, steps: Any, constants: Any, features: Any, out: Any) -> None:  # noqa: C901
    """Run the program over all rows.

    columns: int64[m, n], one row per input or slot; steps: int64[k, STEP_WIDTH]; constants: float64[k, 2];
    features: int64[f], the step whose value is each feature; out: float32[n, f].
    """
    value = np.empty(steps.shape[0], np.float64)
    for i in range(columns.shape[1]):
        for k in range(steps.shape[0]):
            value[k] = np.nan
            absent = False
            for g in range(steps[k, _HEAD]):
                if columns[steps[k, _HEAD + 1 + g], i] == NULL:
                    absent = True
            if absent:
                continue
            op = steps[k, 0]
            a = columns[steps[k, 1], i] if steps[k, 1] >= 0 else NULL
            b = columns[steps[k, 2], i] if steps[k, 2] >= 0 else NULL
            if op == _VALUE:
                if a != NULL:
                    value[k] = a * constants[k, 0]
            elif op == _HOUR:
                value[k] = (a // _HOUR_MS) % 24
            elif op == _WEEKDAY:  # Monday is 0; 1970-01-01 was a Thursday
                value[k] = (a // _DAY_MS + 3) % 7
            elif op == _NIGHT:
                hour = (a // _HOUR_MS) % 24
                start, end = constants[k, 0], constants[k, 1]
                inside = start <= hour < end if start <= end else hour >= start or hour < end
                value[k] = 1.0 if inside else 0.0
            elif (
                op == _DIFFERENCE
            ):  # what lies in a longer window and not in a shorter one; a constant 1: at least 0
                if a != NULL:
                    rest = a - b if b != NULL else a
                    if constants[k, 1] == 1.0:
                        rest = max(rest, 0)
                    value[k] = rest * constants[k, 0]
            elif (
                op == _MEAN
            ):  # sum, filled [, lagged sum, lagged filled]; a constant 1 leaves the event itself out
                count, total = b, a
                if steps[k, 3] >= 0:
                    total -= columns[steps[k, 3], i]
                    count -= columns[steps[k, 4], i]
                if steps[k, 5] >= 0:
                    total -= columns[steps[k, 5], i]
                    count -= 1
                if count > 0:
                    value[k] = total / count * constants[k, 0]
            elif op in (_STD, _ZSCORE):  # sum, filled, squares high, squares low, the event's own value
                high, low = columns[steps[k, 3], i], columns[steps[k, 4], i]
                count, total = b, a
                x = columns[steps[k, 5], i] if steps[k, 5] >= 0 else 0
                if steps[k, 5] >= 0:
                    size = abs(x)
                    p = size >> 20
                    q = size & 0xFFFFF
                    cross = 2 * p * q
                    high -= p * p + (cross >> 20)
                    low -= ((cross & 0xFFFFF) << 20) + q * q
                    total -= x
                    count -= 1
                if count >= 2:
                    deviation = math.sqrt(
                        _spread(count, total, high, low) / (float(count) * float(count - 1))
                    )
                    if op == _STD:
                        value[k] = deviation * constants[k, 0]
                    else:  # at least one unit: equal amounts in the past must not make every other one infinite
                        value[k] = (x - total / count) / max(deviation, 1.0)
            elif op == _RATIO:
                top, bottom = value[steps[k, 1 + MAX_COLUMNS]], value[steps[k, 2 + MAX_COLUMNS]]
                if math.isnan(bottom) or bottom == 0.0:
                    value[k] = np.nan if math.isnan(top) else constants[k, 0]
                else:
                    value[k] = top / bottom
            elif op == _ELAPSED:  # seconds
                if NULL not in (a, b):
                    value[k] = (a - b) / 1000.0
            elif op in (_DISTANCE, _SPEED):
                c, d = columns[steps[k, 3], i], columns[steps[k, 4], i]
                if NULL not in (a, b, c, d):
                    metres = _metres(a, b, c, d)
                    if op == _DISTANCE:
                        value[k] = metres
                    else:  # km/h; two events within a second count as one second apart
                        lapse = columns[steps[k, 5], i] - columns[steps[k, 6], i]
                        value[k] = metres * 3600.0 / max(lapse, 1000)
            elif op == _DIFFERS:
                if NULL not in (a, b):
                    value[k] = 1.0 if a != b else 0.0
            elif op == _PRESENT:
                value[k] = 0.0 if a == NULL else 1.0
            elif op == _FIRST:
                value[k] = 1.0 if a == NULL else 0.0
            elif op == _DAYS:
                if NULL not in (a, b):
                    value[k] = a // _DAY_MS - b
            elif op == _SHARE:  # frauds [- lagged frauds] over events [- lagged events], at most 1
                bottom_count = b - (columns[steps[k, 4], i] if steps[k, 4] >= 0 else 0)
                top_count = a - (columns[steps[k, 3], i] if steps[k, 3] >= 0 else 0)
                value[k] = min(max(top_count, 0) / bottom_count, 1.0) if bottom_count > 0 else constants[k, 0]
            elif op == _QUANTILE:  # low, high, filled [, the event's own value, left out]
                if a != NULL:
                    count = columns[steps[k, 3], i] - (1 if steps[k, 4] >= 0 else 0)
                    rank = (count - 1) * int(constants[k, 1])
                    value[k] = (a + (b - a) * ((rank % 1000) / 1000.0)) * constants[k, 0]
            elif op == _ESTIMATE:
                value[k] = _estimate((a, b, columns[steps[k, 3], i]))
        for f in range(features.shape[0]):
            out[i, f] = np.float32(value[features[f]])
