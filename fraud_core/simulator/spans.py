"""Times as people write them on a command line: 90d, 36h, 2026-09-30T00:00Z."""

import re
from datetime import UTC, datetime
from typing import Final

from fraud_core.errors import SettingsError

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_span_ms(text: str) -> int:
    """A length of time such as 90d, 12h, 30m, 45s as milliseconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*", text)
    if match is None:
        raise SettingsError(f"A length of time such as 90d, 12h, 30m or 45s was expected; found {text!r}.")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_instant_ms(text: str) -> int:
    """A point in time in ISO 8601 as milliseconds since 1970; without an offset it is UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"A point in time such as 2026-09-30 or 2026-09-30T12:00:00Z was expected; found {text!r}."
        ) from error
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000)
