"""Has this event been seen? The last N valid events of a shard, each as three 64-bit hashes, in bounded memory.

Two hashes stand for the event's key, one for its body. The verdicts of a plan depend on its events and on exactly the N
valid events before its start, so that a run that has just loaded them from Delta and one that rolled along agree.
Hashes live in memory only: polars promises them for one process, not for longer.
"""

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import polars as pl
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fraud_core.contracts import Contract, body_hash, key_of

NEW: Final = 0
DUPLICATE: Final = 1
OTHER_BODY: Final = 2
NOT_JUDGED: Final = 3

_FREE: Final = -1
_FULL: Final = 0.7
"""Share of slots in use, by forgotten events too, at which the table is laid out anew."""
_AHEAD: Final = 16
"""Events between asking memory for a slot and looking into it: slots lie anywhere in tens of megabytes."""


@dataclass(frozen=True)
class Identities:
    """Hashes of a run of events: two of the key, one of the body; an array each."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    body: NDArray[np.uint64]

    @classmethod
    def of(cls, contract: Contract, rows: pl.DataFrame) -> "Identities":
        """Identities of typed rows (the contract's columns)."""
        key = rows.select(key_of(contract).alias("key")).to_series()
        return cls(
            key.hash(seed=1).to_numpy(),
            key.hash(seed=2).to_numpy(),
            body_hash(contract, rows).to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.first)


class UniquenessWindow:
    """The last `size` valid events of a shard: a ring in order of arrival, and an open hash table over it.

    `judge` takes the events that it finds new in at once, and forgets older ones only at `settle`, when the plan is
    committed; after a plan that was not, throw the window away and load it again.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._next = 0
        """Events ever taken in: the number of the next one. Its place in the ring is that modulo the ring's length."""
        self._low = 0
        """Number of the oldest event that still counts."""
        self._ring = np.zeros((1024, 3), dtype=np.uint64)
        self._slots = np.full(2 * 4096, _FREE, dtype=np.int64)
        """Per slot the first hash and the number of an event, side by side, so that one look at memory fetches both."""
        self._used = 0

    def __len__(self) -> int:
        return self._next - self._low

    def judge(self, events: Identities, candidates: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """NEW, DUPLICATE or OTHER_BODY for each event in order, NOT_JUDGED where `candidates` is false."""
        return self._pass(events, candidates, known_valid=False)

    def take(self, events: Identities) -> None:
        """Take in events that were found valid before, the oldest first."""
        self._pass(events, np.ones(len(events), dtype=np.bool_), known_valid=True)
        self.settle()

    def settle(self) -> None:
        """The plan is committed: from here on only the last `size` events count."""
        self._low = max(self._low, self._next - self.size)

    def _pass(
        self, events: Identities, candidates: NDArray[np.bool_], *, known_valid: bool
    ) -> NDArray[np.uint8]:
        self._make_room(int(candidates.sum()))
        verdicts: NDArray[np.uint8] = np.empty(len(events), dtype=np.uint8)
        self._next, used = _judge(
            events.first,
            events.second,
            events.body,
            candidates,
            known_valid,
            self._ring,
            self._slots,
            self._low,
            self._next,
            verdicts,
        )
        self._used += used
        return verdicts

    def _make_room(self, events: int) -> None:
        needed = len(self) + events
        if needed > len(self._ring):
            ring = np.zeros((int(needed * 1.1) + 1024, 3), dtype=np.uint64)
            numbers = np.arange(self._low, self._next)
            ring[numbers % len(ring)] = self._ring[numbers % len(self._ring)]
            self._ring = ring
        held = len(self._slots) // 2
        if self._used + events > _FULL * held:
            slots = max(held, _power_of_two(int(needed / _FULL * 1.25)))
            self._slots = np.full(2 * slots, _FREE, dtype=np.int64)
            self._used = len(self)
            _lay_out(self._ring, self._slots, self._low, self._next)


def _power_of_two(least: int) -> int:
    return 1 << max(10, (least - 1).bit_length())


@intrinsic
def _fetch_soon(_typing, array, at):  # type: ignore[no-untyped-def]  # noqa: ARG001 (numba)
    """Ask memory for an item of an array that will be looked at soon."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # numba has types of its own
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        number, address = ir.IntType(32), ir.IntType(8).as_pointer()
        shape = ir.FunctionType(ir.VoidType(), (address, number, number, number))
        fetch = builder.module.declare_intrinsic("llvm.prefetch", (address,), fnty=shape)
        to_write, nearest, is_data = (ir.Constant(number, value) for value in (1, 3, 1))
        item = builder.bitcast(builder.gep(data, [arguments[1]]), address)
        builder.call(fetch, [item, to_write, nearest, is_data])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@numba.njit(cache=True, nogil=True)
def _judge(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0917 (numba)
    first, second, body, candidates, known_valid, ring, slots, low, following, verdicts
):
    mask = np.uint64(len(slots) // 2 - 1)
    one = np.uint64(1)
    used = 0
    count = len(first)
    for row in range(count):
        if row + _AHEAD < count:
            _fetch_soon(slots, 2 * np.int64(first[row + _AHEAD] & mask))  # type: ignore[call-arg]  # numba adds its context itself
        if not candidates[row]:
            verdicts[row] = NOT_JUDGED
            continue
        key = first[row]
        slot = key & mask
        home = np.int64(_FREE)  # the slot of a forgotten event with this first hash serves again
        verdict = NEW
        while True:
            at = 2 * np.int64(slot)
            number = slots[at + 1]
            if number == _FREE:
                if home == _FREE:
                    home = at
                    slots[at] = np.int64(key)
                    used += 1
                slots[home + 1] = following
                break
            if slots[at] == np.int64(key):
                place = number % len(ring)
                if number < low:
                    home = at
                elif ring[place, 1] == second[row]:
                    if (
                        known_valid
                    ):  # it had been forgotten when it came again: the slot stands for the later event
                        slots[at + 1] = following
                    elif ring[place, 2] == body[row]:
                        verdict = DUPLICATE
                    else:
                        verdict = OTHER_BODY
                    break
            slot = (slot + one) & mask
        if verdict == NEW:
            place = following % len(ring)
            ring[place, 0] = key
            ring[place, 1] = second[row]
            ring[place, 2] = body[row]
            following += 1
        verdicts[row] = verdict
    return following, used


@numba.njit(cache=True, nogil=True)
def _lay_out(ring, slots, low, following):  # type: ignore[no-untyped-def]  # numba has types of its own
    mask = np.uint64(len(slots) // 2 - 1)
    one = np.uint64(1)
    for number in range(low, following):
        if number + _AHEAD < following:
            later = ring[(number + _AHEAD) % len(ring), 0]
            _fetch_soon(slots, 2 * np.int64(later & mask))  # type: ignore[call-arg]  # numba adds its context itself
        key = ring[number % len(ring), 0]
        slot = key & mask
        while slots[2 * np.int64(slot) + 1] != _FREE:
            slot = (slot + one) & mask
        slots[2 * np.int64(slot)] = np.int64(key)
        slots[2 * np.int64(slot) + 1] = number
