"""A payment on its way through scoring, and what can become of it."""

import time
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from fraud_core.contracts import Contract

_CANONICAL = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True)
class Submission:
    """One payment that keeps its contract."""

    event: dict[str, Any]
    """As it was sent: JSON types."""
    values: dict[str, Any]
    """Typed, absent fields left out; instants in µs."""
    event_id: str
    event_ts: str
    body: bytes
    """16-byte hash of the values: spelling, order and absent fields make no difference."""
    trace_id: str
    received: float = field(default_factory=time.monotonic)


def submit(contract: Contract, event: dict[str, Any], trace_id: str, received: float) -> Submission:
    """Make a submission of an event that `check_event` found nothing wrong with."""
    values, _ = contract.event_check.read(event)
    body = blake2b(_CANONICAL.encode(values), digest_size=16).digest()
    return Submission(
        event, values, event[contract.event_id], event[contract.event_time], body, trace_id, received
    )


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
