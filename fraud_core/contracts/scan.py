"""The compiled passes of the scanner (scanner.py says what for).

No position is checked against the end of the text: every row is followed by a newline, which no inner loop steps over, and
the text by padding that is longer than any look-ahead.
"""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"
# ruff: noqa: C901, PLR0917, PLR1714, SIM109

import numba
import numpy as np

from fraud_core.contracts.scanner import ABSENT, CAREFUL, CLEAN, CLEAN_IF_UTF8, NUMBERS

_QUOTE, _COMMA, _COLON, _BACKSLASH, _NEWLINE = 34, 44, 58, 92, 10
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 123, 125, 91, 93
_MINUS, _PLUS, _POINT, _ZERO, _NINE, _LOWER_E, _UPPER_E = 45, 43, 46, 48, 57, 101, 69

_PLAIN = np.array([32 <= byte < 128 and byte not in (_QUOTE, _BACKSLASH) for byte in range(256)])
"""Bytes of a text that mean only themselves."""

_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def _blank(data, at):
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    return at


@_compiled
def _text_end(data, at):
    """Position after the closing quote of a text that begins at `at`, negative where it needs care; and high bytes."""
    high = False
    at += 1
    while True:
        while _PLAIN[data[at]]:
            at += 1
        byte = data[at]
        if byte == _QUOTE:
            return at + 1, high
        if byte < 32:
            return -1, high
        if byte >= 128:
            high = True
            at += 1
            continue
        at += 1
        escaped = data[at]
        if escaped == 117:  # \u: the surrogates D800-DFFF need care, so does anything that is not hexadecimal
            for offset in range(1, 5):
                digit = data[at + offset]
                if not (48 <= digit <= 57 or 65 <= digit <= 70 or 97 <= digit <= 102):
                    return -1, high
            if data[at + 1] in (68, 100) and data[at + 2] >= 56:
                return -1, high
            at += 4
        elif escaped not in (34, 92, 47, 98, 102, 110, 114, 116):
            return -1, high
        at += 1


@_compiled
def _digits(data, at):
    while _ZERO <= data[at] <= _NINE:
        at += 1
    return at


@_compiled
def _number_end(data, at, whole):
    """Position after a number, negative where it needs care: leading zeros, many digits, large exponents."""
    if data[at] == _MINUS:
        at += 1
    start = at
    at = _digits(data, at)
    count = at - start
    if count == 0 or count > 18 or (count > 1 and data[start] == _ZERO):
        return -1
    if whole:
        return at
    if data[at] == _POINT:
        start = at + 1
        at = _digits(data, start)
        if at == start or at - start > 24:
            return -1
    if data[at] == _LOWER_E or data[at] == _UPPER_E:
        at += 1
        if data[at] == _MINUS or data[at] == _PLUS:
            at += 1
        start = at
        at = _digits(data, start)
        if at == start or at - start > 2:
            return -1
    return at


@_compiled
def _pair(data, at):
    tens, ones = data[at], data[at + 1]
    if _ZERO <= tens <= _NINE and _ZERO <= ones <= _NINE:
        return (tens - _ZERO) * 10 + (ones - _ZERO)
    return -1


@_compiled
def _day(data, at):
    """Days since 1970 of `YYYY-MM-DD`, ABSENT where it needs care (Howard Hinnant's days_from_civil)."""
    century, years = _pair(data, at), _pair(data, at + 2)
    month, day = _pair(data, at + 5), _pair(data, at + 8)
    if century < 0 or years < 0 or data[at + 4] != _MINUS or data[at + 7] != _MINUS:
        return ABSENT
    year = century * 100 + years
    if year < 1 or month < 1 or month > 12 or day < 1:
        return ABSENT
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 30 if month in (4, 6, 9, 11) else 31
    if month == 2:
        longest = 29 if leap else 28
    if day > longest:
        return ABSENT
    if month <= 2:
        year -= 1
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return np.int64(era * 146097 + day_of_era - 719468)


@_compiled
def _instant(data, at):
    """Microseconds since 1970 of `…T…Z` and the position after it; ABSENT where it needs care."""
    day = _day(data, at)
    hour, minute, second = _pair(data, at + 11), _pair(data, at + 14), _pair(data, at + 17)
    shaped = data[at + 10] == 84 and data[at + 13] == _COLON and data[at + 16] == _COLON
    if (
        day == ABSENT
        or not shaped
        or hour < 0
        or hour > 23
        or minute < 0
        or minute > 59
        or second < 0
        or second > 59
    ):
        return ABSENT, at
    at += 19
    micros, unit = 0, 100_000
    if data[at] == _POINT:
        start = at + 1
        at = _digits(data, start)
        if at == start or at - start > 6:
            return ABSENT, at
        for place in range(start, at):
            micros += (data[place] - _ZERO) * unit
            unit //= 10
    if data[at] != 90:
        return ABSENT, at
    return day * 86_400_000_000 + (hour * 3600 + minute * 60 + second) * 1_000_000 + micros, at + 1


@_compiled
def _nested_end(data, at, end):
    """Position after a balanced object; the reader that follows checks what is inside."""
    depth, high = 0, False
    while at < end:
        byte = data[at]
        if byte == _QUOTE:
            at, more = _text_end(data, at)
            high = high or more
            if at < 0:
                return -1, high
            continue
        if byte == _OPEN or byte == _OPEN_LIST:
            depth += 1
            if depth > 64:
                return -1, high
        elif byte == _CLOSE or byte == _CLOSE_LIST:
            depth -= 1
            if depth == 0:
                return at + 1, high
        elif byte == _NEWLINE or byte >= 128:
            return -1, high
        at += 1
    return -1, high


@_compiled
def _list_end(data, at, kind):
    high = False
    at = _blank(data, at + 1)
    if data[at] == _CLOSE_LIST:
        return at + 1, high
    while True:
        if data[at] == 110:
            at = _null_end(data, at)
        elif kind == NUMBERS:
            at = _number_end(data, at, False)
        elif data[at] == _QUOTE:
            at, more = _text_end(data, at)
            high = high or more
        else:
            return -1, high
        if at < 0:
            return -1, high
        at = _blank(data, at)
        if data[at] == _CLOSE_LIST:
            return at + 1, high
        if data[at] != _COMMA:
            return -1, high
        at = _blank(data, at + 1)


@_compiled
def _null_end(data, at):
    return at + 4 if data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108 else -1


@_compiled
def _boolean_end(data, at):
    if data[at] == 116:
        return at + 4 if data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101 else -1
    if (
        data[at] != 102
        or data[at + 1] != 97
        or data[at + 2] != 108
        or data[at + 3] != 115
        or data[at + 4] != 101
    ):
        return -1
    return at + 5


@_compiled
def _is_key(data, at, names, begin, stop):
    """Whether the key that begins at `at` is this name, written plainly."""
    length = stop - begin
    for offset in range(length):
        if data[at + offset] != names[begin + offset]:
            return False
    return data[at + length] == _QUOTE


@_compiled
def _row(data, at, end, row, names, bounds, kinds, slots, seen, times, spans):
    count = kinds.size
    expected = 0
    high = False
    at = _blank(data, at)
    if data[at] != _OPEN:
        return CAREFUL
    at = _blank(data, at + 1)
    if data[at] == _CLOSE:
        return CLEAN if _blank(data, at + 1) == end else CAREFUL
    while True:
        if data[at] != _QUOTE:
            return CAREFUL
        at += 1
        field = -1
        for step in range(count):  # keys mostly come in the contract's order: the expected one is tried first
            candidate = expected + step
            if candidate >= count:
                candidate -= count
            if _is_key(data, at, names, bounds[candidate], bounds[candidate + 1]):
                field = candidate
                break
        if field < 0 or seen[field] == row:
            return CAREFUL
        seen[field] = row
        expected = field + 1
        at = _blank(data, at + bounds[field + 1] - bounds[field] + 1)
        if data[at] != _COLON:
            return CAREFUL
        at = _blank(data, at + 1)
        kind = kinds[field]
        if data[at] == 110:
            at = _null_end(data, at)
        elif kind == 0:
            if data[at] != _QUOTE:
                return CAREFUL
            at, more = _text_end(data, at)
            high = high or more
        elif kind == 1:
            at = _number_end(data, at, True)
        elif kind == 2:
            at = _number_end(data, at, False)
        elif kind == 3:
            at = _boolean_end(data, at)
        elif kind == 4 or kind == 5:
            if data[at] != _QUOTE:
                return CAREFUL
            if kind == 4:
                moment, at = _instant(data, at + 1)
            else:
                moment = _day(data, at + 1)
                at += 11
            if moment == ABSENT or data[at] != _QUOTE:
                return CAREFUL
            times[slots[field], row] = moment
            at += 1
        elif kind == 6:
            if data[at] != _OPEN:
                return CAREFUL
            begin = at
            at, more = _nested_end(data, at, end)
            high = high or more
            spans[slots[field], row, 0] = begin
            spans[slots[field], row, 1] = at
        else:
            if data[at] != _OPEN_LIST:
                return CAREFUL
            at, more = _list_end(data, at, kind)
            high = high or more
        if at < 0:
            return CAREFUL
        at = _blank(data, at)
        if data[at] == _CLOSE:
            if _blank(data, at + 1) != end:
                return CAREFUL
            return CLEAN_IF_UTF8 if high else CLEAN
        if data[at] != _COMMA:
            return CAREFUL
        at = _blank(data, at + 1)


@_compiled
def scan_rows(data, ends, names, bounds, kinds, slots, times, spans):
    """Scan every row; fills `times` and `spans` and returns each row's status."""
    count = ends.size
    status = np.empty(count, dtype=np.uint8)
    seen = np.full(kinds.size, -1, dtype=np.int64)
    start = 0
    for row in range(count):
        # The newline after a row (or the padding after the last) ends every inner loop: no row reads into the next.
        status[row] = _row(data, start, ends[row], row, names, bounds, kinds, slots, seen, times, spans)
        if status[row] == CAREFUL:
            times[:, row] = ABSENT
        start = ends[row] + 1
    return status
