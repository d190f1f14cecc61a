"""Lists of events: an entity's newest events one by one, as they came, and its label effects; nothing is added up.

A value is a header, then the label effects, then the events, oldest first, so that an event costs one append. Whoever asked folds
the events with the offline fold itself (list_events.py): what that costs is not the server's, and there is no second execution to
keep in agreement. An entity whose layout is buckets is kept as a list while it is quiet, and as rings from then on.

What no coming event can look at is dropped now and then, not at once: a repeated call is answered from the events that had come
before, which must be there still. A label that came too late in between is in its answer, as it is offline; nothing else differs.
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit

from fraud_core.features.layout import LABEL_BYTES
from fraud_core.features.plan import EntityPlan, Layout

LIST_FORMAT: Final = "<i6I6I4"
"""The header: events dropped so far, the running maximum of their times in ms, number of label effects. Rings have their seq
where the first one stands, as a negative number."""
LIST_BYTES: Final = 16
DROP_EVERY: Final = 16
"""Events from one dropping to the next."""
SPARE_EVENTS: Final = 64
SPARE_MS: Final = 3_600_000
REPEATED: Final = 4
"""What is kept for repeated calls: so many events beyond the cap; beyond the horizon so long, and all that the last few events looked
at, whatever the time between them."""
QUIET_EVENTS: Final = 32
"""Of an entity whose layout is buckets: a list that would hold more than this many events of its horizon becomes rings."""


@dataclass(frozen=True)
class Part:
    """One value of a record: what it is (its name is that and its number), and bytes."""

    what: str
    number: int
    bytes: int
    signed: bool = False
    plus: int | None = None
    """Where not None, an absent value is 0, and this is added to the others."""

    @property
    def name(self) -> str:
        return f"{self.what}{self.number}"


def record_parts(plan: EntityPlan) -> tuple[Part, ...]:
    """An event: its time t, then `EntityPlan.arguments`: x numbers, g hashes, k carried values, c cells; and bits, the filters that it
    passes."""
    parts = [Part("t", 0, 6)]
    parts += [Part("x", k, 6, signed=True) for k in range(len(plan.numbers))]
    parts += [Part("g", k, 4, plus=0) for k in range(len(plan.hashes))]
    parts += [Part("k", k, 6, signed=True) for k in range(len(plan.carried))]
    parts += [Part("c", k, 2, plus=1) for k in range(len(plan.cells))]
    if plan.filters:
        parts.append(Part("bits", 0, 1))
    return tuple(parts)


def record_bytes(plan: EntityPlan) -> int:
    """Size of one remembered event."""
    return sum(part.bytes for part in record_parts(plan))


def list_bytes(plan: EntityPlan) -> int:
    """Most bytes that an entity's events can take in a list; each label effect takes LABEL_BYTES more."""
    return LIST_BYTES + most_events(plan) * record_bytes(plan)


def most_events(plan: EntityPlan) -> int:
    """How many events a list can hold."""
    if plan.rule.layout == Layout.BUCKETS:
        return QUIET_EVENTS
    return plan.rule.cap + SPARE_EVENTS + DROP_EVERY


def list_header(dropped: int, clock_ms: int, labels: int) -> bytes:
    """See LIST_FORMAT."""
    return dropped.to_bytes(6, "little") + clock_ms.to_bytes(6, "little") + struct.pack("<I", labels)


def events_begin(value: bytes) -> int:
    """Where the events begin in a value."""
    return LIST_BYTES + LABEL_BYTES * int.from_bytes(value[12:16], "little")


def with_effects(value: bytes, effects: bytes) -> bytes:
    """A value that has no label effects, with some put in: sorted, as in layout.LABEL_FORMAT."""
    return value[:12] + struct.pack("<I", len(effects) // LABEL_BYTES) + effects + value[LIST_BYTES:]


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def kept_from(starts: Any, times: Any, horizon_ms: int, most: int, quiet: int) -> Any:
    """Which events the state functions would still have: int64[e], the first one's place for each entity; -1: it became rings.

    starts: int64[e+1] into the sorted events; times: int64[n] event times, ms; most: cap and SPARE_EVENTS; quiet: QUIET_EVENTS, or
    0 for entities that are always lists.
    """
    first = starts[:-1].copy()
    for e in range(len(first)):
        clock = np.int64(0)
        for i in range(starts[e], starts[e + 1]):
            full = quiet > 0 and i - first[e] >= quiet
            if full or (i - starts[e] + 1) % DROP_EVERY == 0:
                least = min(times[i] - SPARE_MS, times[max(first[e], i - REPEATED)]) - horizon_ms
                while first[e] < i:
                    reached = max(clock, times[first[e]])
                    if reached > least and (quiet > 0 or i - first[e] < most):
                        break
                    clock = reached
                    first[e] += 1
            if quiet > 0 and i - first[e] >= quiet:
                first[e] = -1
                break
    return first
