"""Days and instants in UTC as events write them, read in compiled passes."""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors

import numpy as np

from fraud_core.contracts.scan_bytes import COLON, MINUS, NINE, POINT, ZERO, compiled
from fraud_core.contracts.scan_numbers import digits_end
from fraud_core.contracts.scanner import ABSENT


@compiled
def _pair(data, at):
    tens, ones = data[at], data[at + 1]
    if ZERO <= tens <= NINE and ZERO <= ones <= NINE:
        return (tens - ZERO) * 10 + (ones - ZERO)
    return -1


@compiled
def day_of(data, at):
    """Days since 1970 of `YYYY-MM-DD`, ABSENT where it needs care (Howard Hinnant's days_from_civil)."""
    century, years = _pair(data, at), _pair(data, at + 2)
    month, day = _pair(data, at + 5), _pair(data, at + 8)
    if century < 0 or years < 0 or data[at + 4] != MINUS or data[at + 7] != MINUS:
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


@compiled
def instant(data, at):
    """Microseconds since 1970 of `…T…Z` and the position after it; ABSENT where it needs care."""
    day = day_of(data, at)
    hour, minute, second = _pair(data, at + 11), _pair(data, at + 14), _pair(data, at + 17)
    shaped = data[at + 10] == 84 and data[at + 13] == COLON and data[at + 16] == COLON
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
    if data[at] == POINT:
        start = at + 1
        at = digits_end(data, start)
        if at == start or at - start > 6:
            return ABSENT, at
        for place in range(start, at):
            micros += (data[place] - ZERO) * unit
            unit //= 10
    if data[at] != 90:
        return ABSENT, at
    return day * 86_400_000_000 + (hour * 3600 + minute * 60 + second) * 1_000_000 + micros, at + 1
