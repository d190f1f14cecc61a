"""Instants, days and durations as contracts write them; inside, an instant is microseconds and a day is days since 1970.

One grammar for every reader: `2026-09-01T12:34:56.789Z` (UTC, up to six fractional digits), `2026-09-01`, and
durations such as `60s`, `15min`, `1h`, `7d`.
"""

import re
from datetime import UTC, date, datetime, timedelta

TIMESTAMP_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
DAY_US = 86_400_000_000

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?Z", re.ASCII
)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
_DURATION = re.compile(r"([0-9]+)\s*(ms|s|sec|min|m|h|d|day|days|w|y)", re.ASCII)
_UNIT_MS = {
    "ms": 1, "s": 1000, "sec": 1000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000,
    "day": 86_400_000, "days": 86_400_000, "w": 604_800_000, "y": 31_536_000_000,
}  # fmt: skip
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def day_number(text: str) -> int | None:
    """Days since 1970-01-01, or None where `text` is no calendar day written `YYYY-MM-DD`."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])).toordinal() - _EPOCH_DAY
    except ValueError:
        return None


def timestamp_us(text: str) -> int | None:
    """Microseconds since 1970, or None where `text` is no UTC instant written with `T` and `Z`. No leap seconds."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    day_text, hour_text, minute_text, second_text, fraction = match.groups()
    day = day_number(day_text)
    hour, minute, second = int(hour_text), int(minute_text), int(second_text)
    if day is None or hour > 23 or minute > 59 or second > 59:
        return None
    micros = int(fraction.ljust(6, "0")) if fraction else 0
    return day * DAY_US + (hour * 3600 + minute * 60 + second) * 1_000_000 + micros


def timestamp_text(us: int) -> str:
    """The instant as contracts write it: milliseconds where that is exact, else microseconds."""
    moment = datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
    precision = "milliseconds" if us % 1000 == 0 else "microseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def day_text(day: int) -> str:
    """The day as contracts write it."""
    return date.fromordinal(day + _EPOCH_DAY).isoformat()


def duration(text: str) -> timedelta | None:
    """A duration such as `60s` or `7d`, or None where `text` is none."""
    match = _DURATION.fullmatch(text.strip())
    return timedelta(milliseconds=int(match[1]) * _UNIT_MS[match[2]]) if match else None
