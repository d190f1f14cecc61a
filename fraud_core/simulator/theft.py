"""What all thefts have in common: whom they hit, where the money goes, what the thief uses, how fast it goes."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator.behaviour import Behaviour
from fraud_core.simulator.draws import Weighted
from fraud_core.simulator.merchants import ONLINE, RESALE
from fraud_core.simulator.payments import ECOM, NO_CODE, Payments

_THIEF_DEVICE, _THIEF_ADDRESS = 30, 31
_THIEF_DEVICE_TYPES: Final = Weighted([0.55, 0.33, 0.07, 0.05])


class Theft:
    """Parts of which scenarios are made."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.world = behaviour.world
        merchants = self.world.merchants
        online = merchants.kind == ONLINE
        self._victims = Weighted(self.world.accounts.activity**0.6)
        self._soft = merchants.popular(merchants.soft & online)
        self._resale = merchants.popular(online & np.isin(merchants.category, RESALE))

    def victims(self, rng: np.random.Generator, size: int) -> NDArray[np.int32]:
        return self._victims.draw(rng, size).astype(np.int32)

    def fences(self, rng: np.random.Generator, size: int) -> NDArray[np.int32]:
        """Where stolen cards are spent online: lax merchants, shops whose goods sell on, or just anywhere."""
        draw = rng.random(size)
        anywhere = self.world.merchants.online.draw(rng, size)
        resale = self._resale.draw(rng, size)
        soft = self._soft.draw(rng, size)
        return np.where(draw < 0.45, soft, np.where(draw < 0.75, resale, anywhere)).astype(np.int32)

    def thief_city(
        self, rng: np.random.Generator, account: NDArray[np.int32], near: float
    ) -> NDArray[np.int16]:
        home = self.world.accounts.city[account]
        away = self.world.cities.visited.draw(rng, len(account))
        return np.where(rng.random(len(account)) < near, home, away).astype(np.int16)

    def remote(
        self,
        rng: np.random.Generator,
        account: NDArray[np.int32],
        time_ms: NDArray[np.int64],
        merchant: NDArray[np.int32],
        *,
        day: int,
        campaign: NDArray[np.int64],
        shared: NDArray[np.bool_] | None = None,
    ) -> Payments:
        """Online payments with the thief's device and address; `shared`: one device for the whole campaign."""
        size = len(account)
        payments = self.behaviour.pay(rng, account, time_ms, self.behaviour.calendar.today(day))
        token = rng.integers(0, 1 << 40, size)
        one = rng.integers(0, 1 << 40, int(campaign.max()) + 1 if size else 1)[campaign]
        token = np.where(shared, one, token) if shared is not None else token
        cities = self.world.cities
        city = self.thief_city(rng, account, near=0.55)  # a proxy near the victim is cheap
        unknown = rng.random(size) < 0.3
        kind = _THIEF_DEVICE_TYPES.draw(rng, size).astype(np.int8)
        hidden = rng.random(size) < 0.06
        device = np.where(hidden, NO_CODE, self.world.code(_THIEF_DEVICE, token))
        return replace(
            payments,
            merchant=merchant,
            channel=np.full(size, ECOM, dtype=np.int8),
            euro_cents=self.behaviour.amount(rng, account, merchant),
            device=device,
            device_type=kind,
            address=self.world.code(_THIEF_ADDRESS, token // 3),
            latitude=np.where(unknown, np.nan, cities.latitude[city] + rng.normal(0, 0.15, size)),
            longitude=np.where(unknown, np.nan, cities.longitude[city] + rng.normal(0, 0.2, size)),
            present=np.zeros(size, dtype=np.bool_),
            campaign=campaign,
        )

    def till(
        self,
        rng: np.random.Generator,
        account: NDArray[np.int32],
        time_ms: NDArray[np.int64],
        merchant: NDArray[np.int32],
        *,
        day: int,
        campaign: NDArray[np.int64],
        channel: int,
    ) -> Payments:
        """Payments with a copied or stolen card at a till or cash machine."""
        size = len(account)
        payments = self.behaviour.pay(rng, account, time_ms, self.behaviour.calendar.today(day))
        merchants = self.world.merchants
        none = np.full(size, NO_CODE, dtype=np.uint64)
        return replace(
            payments,
            merchant=merchant,
            channel=np.full(size, channel, dtype=np.int8),
            euro_cents=self.behaviour.amount(rng, account, merchant),
            device=none,
            address=none,
            latitude=merchants.latitude[merchant],
            longitude=merchants.longitude[merchant],
            present=np.ones(size, dtype=np.bool_),
            campaign=campaign,
        )

    def dearer(
        self, rng: np.random.Generator, payments: Payments, shift: float | NDArray[np.float64]
    ) -> Payments:
        """Amounts moved up by `shift` (of the logarithm) and spread, within what a card allows."""
        factor = np.exp(shift + rng.normal(0, 0.35, len(payments)))
        cents = np.clip(np.rint(payments.euro_cents * factor), 50, 400_000).astype(np.int64)
        return replace(payments, euro_cents=cents)


def after(
    rng: np.random.Generator, starts: NDArray[np.int64], group: NDArray[np.int64], gap_ms: float
) -> NDArray[np.int64]:
    """Times within each group (rows of one group stand together): the start, then gaps of `gap_ms` on average."""
    if not len(group):
        return starts
    gap = rng.exponential(gap_ms, len(group)) + 1_000
    first = np.concatenate([[True], group[1:] != group[:-1]])
    gap[first] = 0
    elapsed = np.cumsum(gap)
    since = elapsed - np.repeat(elapsed[first], np.diff(np.append(np.flatnonzero(first), len(group))))
    times: NDArray[np.int64] = starts + since.astype(np.int64)
    return times
