"""A payment on its way through scoring, and what can become of it."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from fraud_core.contracts import Contract, timestamp_us

_CANONICAL = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True)
class Submission:
    """One payment that keeps its contract."""

    event: dict[str, Any]
    """As it was sent: JSON types."""
    event_id: str
    event_ts: str
    event_ms: int
    body: bytes
    """16-byte hash of what the event says: its fields' order, absent fields and the spelling of its time do not count."""
    trace_id: str
    received: float


Finished = tuple[Submission, bytes, bytes, int]
"""A payment, its answer, its record for the log, and the epoch that it was applied to (0: none)."""


def submit(contract: Contract, event: dict[str, Any], trace_id: str, received: float) -> Submission:
    """Make a submission of an event that `check_event` found nothing wrong with."""
    event_ts = event[contract.event_time]
    event_us = timestamp_us(event_ts) or 0
    said = {name: value for name, value in event.items() if value is not None}
    said[contract.event_time] = event_us
    body = blake2b(_CANONICAL.encode(said), digest_size=16).digest()
    return Submission(event, event[contract.event_id], event_ts, event_us // 1000, body, trace_id, received)


@dataclass(frozen=True)
class Answered:
    """An answer, as JSON. `repeated`: it was given before, to the same body. `logged`: the decision is in the log."""

    content: bytes
    repeated: bool = False
    logged: bool = True


@dataclass(frozen=True)
class Conflict:
    """The event id is known with another body; nothing was scored."""


@dataclass(frozen=True)
class Busy:
    """The same payment is being scored by another request, which did not finish in time."""

    retry_after_ms: int


Outcome = Answered | Conflict | Busy
