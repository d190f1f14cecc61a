"""What changes in the life of an account from day to day: trips, a new phone, a new home address on the network.

Time is cut into slots of 30 days with random numbers of their own, so that any day is found without the days before.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator.world import World

SLOT_DAYS: Final = 30
_SLOTS_BACK: Final = 24
"""A phone is kept for at most this many slots before its replacement is forgotten."""
_NEW_PHONE: Final = 0.04


@dataclass(frozen=True)
class _Slot:
    """The trips and replacements of one slot, one item per account; -1 where there is none."""

    trip_start: NDArray[np.int64]
    trip_end: NDArray[np.int64]
    trip_city: NDArray[np.int16]
    phone_day: NDArray[np.int64]


@dataclass(frozen=True)
class Today:
    """Where each account is on one day, and which phone it uses."""

    city: NDArray[np.int16]
    away: NDArray[np.bool_]
    phone: NDArray[np.int64]
    """Generation of the phone: changes when it is replaced."""
    network: NDArray[np.int64]
    """Generation of the home's address."""


class Calendar:
    """Finds `Today` for any day of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._slots: OrderedDict[int, _Slot] = OrderedDict()
        self._days: OrderedDict[int, Today] = OrderedDict()
        self._phones: tuple[int, NDArray[np.int64]] | None = None

    def today(self, day: int) -> Today:
        """The state of all accounts on `day` (since 1970-01-01)."""
        if day not in self._days:
            self._days[day] = self._find(day)
            if len(self._days) > 4:
                self._days.popitem(last=False)
        return self._days[day]

    def _find(self, day: int) -> Today:
        home = self._world.accounts.city
        city = home.copy()
        slot = day // SLOT_DAYS
        for near in (self._slot(slot - 1), self._slot(slot)):
            on_trip = (near.trip_start <= day) & (day < near.trip_end)
            city = np.where(on_trip, near.trip_city, city)
        replaced = self._slot(slot).phone_day
        phone = np.where((replaced >= 0) & (replaced <= day), replaced, self._phone_before(slot))
        account = np.arange(len(home))
        return Today(city=city, away=city != home, phone=phone, network=(day + account * 7) // 21)

    def _phone_before(self, slot: int) -> NDArray[np.int64]:
        """Which phone each account used when a slot began: the one that was replaced last."""
        if self._phones is None or self._phones[0] != slot:
            days = [self._slot(back).phone_day for back in range(slot - _SLOTS_BACK, slot)]
            self._phones = slot, np.maximum(np.max(days, axis=0), 0)
        return self._phones[1]

    def _slot(self, number: int) -> _Slot:
        if number not in self._slots:
            self._slots[number] = self._draw(number)
            if len(self._slots) > _SLOTS_BACK + 6:
                self._slots.popitem(last=False)
        return self._slots[number]

    def _draw(self, number: int) -> _Slot:
        rng = self._world.rng(number, "calendar")
        accounts, places = self._world.accounts, self._world.cities
        count, first = len(accounts), number * SLOT_DAYS
        travels = rng.random(count) < accounts.traveller
        start = first + rng.integers(0, SLOT_DAYS, count)
        length = rng.integers(2, 13, count)
        # Shorter ways are likelier: most trips stay in the country's neighbourhood of the list.
        destination = places.visited.draw(rng, count).astype(np.int16)
        replaced = rng.random(count) < _NEW_PHONE
        return _Slot(
            trip_start=np.where(travels, start, -1),
            trip_end=np.where(travels, start + length, -1),
            trip_city=destination,
            phone_day=np.where(replaced, first + rng.integers(0, SLOT_DAYS, count), -1),
        )
