"""The events of one list as bytes, and what its newest one finds: the client's half of the online state, see lists.py."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numba import njit

from fraud_core.errors import StateError
from fraud_core.features.fold import fold, local_codes
from fraud_core.features.fold_labels import newest_labels
from fraud_core.features.fold_rings import fold_rings
from fraud_core.features.layout import LABEL_BYTES
from fraud_core.features.lists import (
    LIST_BYTES,
    events_begin,
    list_header,
    record_bytes,
    record_parts,
    with_effects,
)
from fraud_core.features.offline import unbegun
from fraud_core.features.plan import NULL, EntityPlan, Layout, SlotKind
from fraud_core.features.tables import label_table, list_tables, ring_tables

Ints = np.ndarray[Any, np.dtype[np.int64]]

_TIME, _NUMBER, _HASH, _CARRIED, _CELL, _BITS = range(6)
_WHAT: Final = {"t": _TIME, "x": _NUMBER, "g": _HASH, "k": _CARRIED, "c": _CELL, "bits": _BITS}
_ONE_ENTITY: Final = 1


class ListEvents:
    """Packs the events of one entity kind, and folds them."""

    def __init__(self, plan: EntityPlan) -> None:
        self._plan = plan
        self._size = record_bytes(plan)
        self._width = len(plan.slots)
        self._labels = label_table(plan)
        parts = record_parts(plan)
        self._sizes = [(part.bytes, part.signed, part.plus) for part in parts]
        self._parts = np.array(
            [(part.bytes, part.signed, _WHAT[part.what], part.number, part.plus or 0) for part in parts],
            np.int64,
        )
        self._fields = tuple(len(each) for each in (plan.numbers, plan.hashes, plan.carried, plan.cells))
        self._counts = [place for place, slot in enumerate(plan.slots) if slot.kind == SlotKind.FRAUDS]
        is_list = plan.rule.layout == Layout.LIST
        self._most = plan.rule.cap + 1 if is_list else 2**31
        """Newest events that can matter: those that a list remembers, and the previous one as such."""
        self._fold = _list_fold(plan) if is_list else _ring_fold(plan)

    def pack(self, values: Sequence[int], bits: int) -> bytes:
        """One event: its time and the values of `EntityPlan.arguments`, and which filters it passes."""
        return b"".join(
            (value if plus is None else 0 if value == NULL else value + plus).to_bytes(
                size, "little", signed=signed
            )
            for (size, signed, plus), value in zip(self._sizes, (*values, bits), strict=False)
        )

    def warm_up(self) -> None:
        """Compile the folds, or load them: it would take the first event seconds."""
        event = self.pack([0] * len(self._parts), 0)
        effect = bytes(LABEL_BYTES) if len(self._labels) else b""
        self.slots(with_effects(list_header(0, 0, 0), effect), 1, event, np.empty(self._width, np.int64))

    def newest(self, value: bytes) -> tuple[int, int | None]:
        """How many events a list has met, and its clock in ms; None where it has met none."""
        if not value:
            return 0, None
        dropped, clock_ms = _counted(value)
        events = np.frombuffer(value, np.uint8)[events_begin(value) :]
        count = len(events) // self._size
        if count:
            clock_ms = int(read_events(events, count, 1, clock_ms, self._parts, self._fields)[0][-1])
        return dropped + count, clock_ms if dropped + count else None

    def slots(self, value: bytes, seq: int, event: bytes, out: Ints) -> None:
        """Write what the event with a `seq` finds into int64[slots].

        value: the list as it was before the event, or later; event: the event, packed. Raises StateError when events that it
        looked at are no longer there: it was applied before, and repeated too late; and when another event stands in its place.
        """
        rule = self._plan.rule
        dropped, clock_ms = _counted(value) if value else (0, 0)
        begin = events_begin(value) if dropped >= 0 and value else len(value)
        count, there = seq - dropped, (len(value) - begin) // self._size
        if dropped < 0 or not 1 <= count <= there + 1:
            raise _too_late(rule.name)
        earlier = begin + (count - 1) * self._size
        if count <= there and value[earlier : earlier + self._size] != event:
            raise another_event(rule.name)
        events = value[begin:earlier] + event
        read = read_events(
            np.frombuffer(events, np.uint8), count, self._most, clock_ms, self._parts, self._fields
        )
        clock = int(read[0][-1])
        if dropped and count < self._most and clock_ms > clock - rule.horizon_ms:
            raise _too_late(rule.name)
        newest_fraud = np.full(len(read[0]), NULL, np.int64)
        found = np.full(len(out), NULL, np.int64)  # of one kind, that the folds are compiled for once
        if begin <= LIST_BYTES:
            found[self._counts] = 0  # of frauds; the other label slots stay empty
        else:
            effects = np.frombuffer(value, np.uint8)[LIST_BYTES:begin]
            newest_fraud[-1] = newest_labels(
                effects, clock, self._labels, rule.horizon_ms, rule.label_cap, found
            )
        self._fold(read, newest_fraud, found.reshape(-1, 1))
        out[:] = found


def _counted(value: bytes) -> tuple[int, int]:
    """Events dropped (negative: these are rings), and the running maximum of their times in ms."""
    return int.from_bytes(value[:6], "little", signed=True), int.from_bytes(value[6:12], "little")


def _list_fold(plan: EntityPlan) -> Callable[[Any, Ints, Ints], None]:
    tables, rule = list_tables(plan), plan.rule

    def newest_slots(read: Any, newest_fraud: Ints, out: Ints) -> None:
        clock, numbers, hashes, carried, _, bits = read
        starts = np.array([0, len(clock)])
        values = np.empty(hashes.shape, np.int32)
        for place, mine in enumerate(hashes):
            values[place] = local_codes(starts, mine)
        fold(
            starts, clock, numbers, values, carried, bits, np.zeros(len(clock), np.int64),
            tables.windows, tables.slots, tables.orders, rule.cap, rule.horizon_ms, newest_fraud, out,
        )  # fmt: skip

    return newest_slots


def _ring_fold(plan: EntityPlan) -> Callable[[Any, Ints, Ints], None]:
    tables, horizon = ring_tables(plan), plan.rule.horizon_ms
    begun, nothing = unbegun(_ONE_ENTITY), np.zeros((0, 0, 0), np.int64)

    def newest_slots(read: Any, newest_fraud: Ints, out: Ints) -> None:
        clock, numbers, _, carried, cells, bits = read
        fold_rings(
            np.array([0, len(clock)]), clock, numbers, cells, carried, bits, np.zeros(len(clock), np.int64),
            tables.rings, tables.measures, tables.sketches, tables.slots, horizon, tables.clean_ring,
            newest_fraud, out, *begun, nothing.reshape(0, 0), nothing, nothing,
        )  # fmt: skip

    return newest_slots


def another_event(entities: str) -> StateError:
    """What a call raises whose event's id was applied before, with another event."""
    return StateError(
        f"Expected the answer of an event of {entities}, found that of another one: an event with this id and other entities or "
        "values was applied before. Give each event an id of its own."
    )


def _too_late(entity: str) -> StateError:
    return StateError(
        f"Expected the events that a repeated call found before, found that the state of its {entity} has let go of some since: "
        "too many came in between. The event is counted once; the decision that was made then, if there was one, has its features."
    )


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def read_events(  # noqa: PLR0917 (one pass over the bytes; numba takes no keywords)
    events: Any, count: int, most: int, known_clock: Any, parts: Any, fields: Any
) -> Any:
    """The newest events of a list as the folds take them, oldest first.

    events: uint8[bytes] of `count` records, of which the last `most` are read; known_clock: running maximum of the times before
    them, ms; parts: int64[p, 5] of bytes, 1 where signed, what it is, its number, and what was added to it; fields: how many
    numbers, hashes, carried values and cells there are. Returns the clock int64[n]; numbers, hashes, carried values and cells
    int64[·, n], NULL where there is none; bits int64[n].
    """
    size = parts[:, 0].sum()
    first = max(0, count - most)
    n = count - first
    clock = np.zeros(n, np.int64)
    bits = np.zeros(n, np.int64)
    numbers = np.full((fields[0], n), NULL, np.int64)
    hashes = np.full((fields[1], n), NULL, np.int64)
    carried = np.full((fields[2], n), NULL, np.int64)
    cells = np.full((fields[3], n), NULL, np.int64)
    running = known_clock
    for i in range(count):
        at = i * size
        for p in range(len(parts)):
            value = np.int64(0)
            for k in range(parts[p, 0]):
                value |= np.int64(events[at + k]) << (8 * k)
            if parts[p, 1] and value >> (8 * parts[p, 0] - 1):
                value -= np.int64(1) << (8 * parts[p, 0])
            at += parts[p, 0]
            what, place = parts[p, 2], parts[p, 3]
            if what == _TIME:
                running = max(running, value)
            if i < first:
                break  # the time stands first, and is all that counts of these
            if what == _TIME:
                clock[i - first] = running
            elif what == _NUMBER:
                numbers[place, i - first] = value
            elif what == _HASH:
                hashes[place, i - first] = value - parts[p, 4] if value else NULL
            elif what == _CARRIED:
                carried[place, i - first] = value
            elif what == _CELL:
                cells[place, i - first] = value - parts[p, 4] if value else NULL
            else:
                bits[i - first] = value
    return clock, numbers, hashes, carried, cells, bits
