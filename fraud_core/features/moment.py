"""The moment as of which an entity's features are read: said by people as text, known to the state as milliseconds.

A state keeps no past: it is read as of its entity's clock, the latest event time that it has met, or later. A moment
before that is answered as of the clock, and the answer says so.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from fraud_core.errors import StateError
from fraud_core.features.calls import EntityFeatures

CLOCK: Final = "clock"
NOW: Final = "now"
LATEST_MS: Final = 1 << 47
"""Some 4,460 years from 1970: a later moment is a slip of the keyboard, and the state keeps times in six bytes."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 40


def moment_ms(text: str) -> int:
    """`clock` (0: the entity's own clock), `now`, or an ISO 8601 time (UTC where it names no zone) as ms since 1970.

    Raises StateError for anything else, and for times before 1970 or later than anybody can mean.
    """
    if text == CLOCK:
        return 0
    if text == NOW:
        return time.time_ns() // 1_000_000
    try:
        moment = datetime.fromisoformat(text)
        found = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(
            milliseconds=1
        )
    except (ValueError, OverflowError):
        raise _wrong(text, "a time such as 2026-09-01T12:00:00Z or 2026-09-01T14:00:00.250+02:00") from None
    if not 0 < found < LATEST_MS:
        raise _wrong(text, f"a time after 1970 and before {moment_text(LATEST_MS)}")
    return found


def _wrong(text: str, expected: str) -> StateError:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return StateError(f"as_of was expected to be clock, now or {expected}; found {shown!r}.")


def moment_text(ms: int) -> str:
    """A time as `moment_ms` reads it, to the millisecond."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def said_of_moment(asked_ms: int, found: EntityFeatures) -> str | None:
    """What an answer has to say about its moment: None where it is the one that was asked for."""
    if not asked_ms or asked_ms >= found.as_of_ms:
        return None
    return (
        f"Asked for {moment_text(asked_ms)}, which lies before the entity's clock: answered as of the clock, "
        f"{moment_text(found.as_of_ms)}. The online state keeps no past; the table features of the lake has each payment's values."
    )
