"""What is said when Redis or the log does not do its part in time: the fallback reasons that an answer shows, and the deadline."""

import asyncio
import time
from typing import Final

from fraud_core.errors import StateError
from fraud_core.features import Applied

REDIS_UNREACHABLE: Final = "redis_unreachable"
STATE_UNAVAILABLE: Final = "features_unavailable"
STATE_LOST: Final = "state_lost"
STATE_REBUILDING: Final = "state_rebuilding"
LOG_UNREACHABLE: Final = "log_unreachable"
LEAST_S: Final = 0.005
"""What a trip gets when next to nothing is left."""


Pending = asyncio.Task[list[Applied | StateError]]


class StoreUnavailable(StateError):
    """Redis did not do its part; `code` is the fallback reason that the answer shows.

    `pending` is the update of the state that may be made after all: a decision is logged once that is known.
    """

    def __init__(self, code: str, message: str, pending: Pending | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.pending = pending


def too_slow(code: str = REDIS_UNREACHABLE, pending: Pending | None = None) -> StoreUnavailable:
    """The deadline's share was over first."""
    return StoreUnavailable(code, "No answer came within its share of the deadline.", pending)


def not_asked() -> StoreUnavailable:
    """The breaker is open."""
    return StoreUnavailable(REDIS_UNREACHABLE, "Redis did not answer lately and is not asked now.")


def left(deadline: float) -> float:
    """Seconds until `deadline`, a time of time.monotonic()."""
    return max(deadline - time.monotonic(), LEAST_S)
