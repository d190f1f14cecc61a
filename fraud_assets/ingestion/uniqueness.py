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
from numpy.typing import NDArray

from fraud_core.contracts import Contract, body_hash, key_of

NEW: Final = 0
DUPLICATE: Final = 1
OTHER_BODY: Final = 2
NOT_JUDGED: Final = 3

_FREE: Final = -1
_FULL: Final = 0.7
"""Share of slots in use, by forgotten events too, at which the table is laid out anew."""


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
        self._keys = np.zeros(4096, dtype=np.uint64)
        self._numbers = np.full(4096, _FREE, dtype=np.int64)
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
            self._keys,
            self._numbers,
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
        if self._used + events > _FULL * len(self._numbers):
            slots = max(len(self._numbers), _power_of_two(int(needed / _FULL * 1.25)))
            self._keys = np.zeros(slots, dtype=np.uint64)
            self._numbers = np.full(slots, _FREE, dtype=np.int64)
            self._used = len(self)
            _lay_out(self._ring, self._keys, self._numbers, self._low, self._next)


def _power_of_two(least: int) -> int:
    return 1 << max(10, (least - 1).bit_length())


@numba.njit(cache=True, nogil=True)
def _judge(  # type: ignore[no-untyped-def]  # noqa: PLR0917 (numba)
    first, second, body, candidates, known_valid, ring, keys, numbers, low, following, verdicts
):
    mask = np.uint64(len(numbers) - 1)
    one = np.uint64(1)
    used = 0
    for row in range(len(first)):
        if not candidates[row]:
            verdicts[row] = NOT_JUDGED
            continue
        key = first[row]
        slot = key & mask
        home = np.int64(_FREE)  # the slot of a forgotten event with this first hash serves again
        verdict = NEW
        while True:
            number = numbers[slot]
            if number == _FREE:
                if home == _FREE:
                    home = np.int64(slot)
                    keys[slot] = key
                    used += 1
                numbers[home] = following
                break
            if keys[slot] == key:
                place = number % len(ring)
                if number < low:
                    home = np.int64(slot)
                elif ring[place, 1] == second[row]:
                    if (
                        known_valid
                    ):  # it had been forgotten when it came again: the slot stands for the later event
                        numbers[slot] = following
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
def _lay_out(ring, keys, numbers, low, following):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(numbers) - 1)
    one = np.uint64(1)
    for number in range(low, following):
        key = ring[number % len(ring), 0]
        slot = key & mask
        while numbers[slot] != _FREE:
            slot = (slot + one) & mask
        keys[slot] = key
        numbers[slot] = number
