"""What honest people do: who pays when, where, how much, and with what.

Not everything honest looks ordinary: people travel, buy a new phone, borrow one, spend much once, shop at three in
the morning, go on sprees and buy ten tiny things in a game.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.simulator import rhythm
from fraud_core.simulator.accounts import LOCAL_FAVOURITES, ONLINE_FAVOURITES
from fraud_core.simulator.calendar import Calendar, Today
from fraud_core.simulator.draws import Weighted
from fraud_core.simulator.merchants import CASH, DIGITAL, LOG_EUROS, ONLINE, SHOP, SPREAD
from fraud_core.simulator.payments import (
    ATM,
    DESKTOP,
    ECOM,
    GENUINE,
    MOBILE,
    MOTO,
    NO_CODE,
    OTHER,
    POS,
    TABLET,
    Payments,
    concatenate,
)
from fraud_core.simulator.world import World

_FAVOURITE: Final = 0.72
_SPREE: Final = 0.035
_BIG: Final = 0.015
_BORROWED_TYPES: Final = Weighted([0.45, 0.35, 0.1, 0.1])
_PHONE, _DESKTOP, _TABLET, _BORROWED, _HOME, _MOBILE_NETWORK = range(10, 16)


class Behaviour:
    """Draws honest payments of a world."""

    def __init__(self, world: World, calendar: Calendar) -> None:
        self.world = world
        self.calendar = calendar

    def day(self, day: int) -> Payments:
        """All honest payments of a day, in no particular order."""
        rng = self.world.rng(day, "honest")
        accounts, places = self.world.accounts, self.world.cities
        # Sprees add payments of their own; what remains of the day's number is drawn by account.
        mean = self.world.spec.events_per_day / (1 + _SPREE * 2.5) / len(accounts)
        count = rng.poisson(mean * accounts.activity * rhythm.weekday_factor(accounts.rhythm, day))
        account = np.repeat(np.arange(len(accounts), dtype=np.int32), count)
        local_ms = rhythm.local_time_of_day(rng, accounts.rhythm[account])
        start = day * rhythm.DAY_MS
        time_ms = start + (local_ms - places.clock_ms[accounts.city[account]]) % rhythm.DAY_MS
        payments = self.pay(rng, account, time_ms, self.calendar.today(day))
        spree = self._sprees(rng, payments)
        return concatenate([payments, spree.take(spree.time_ms < start + rhythm.DAY_MS)])

    def now(self, rng: np.random.Generator, time_ms: NDArray[np.int64], day: int) -> Payments:
        """One honest payment at each of these times, all of this day; none when a moment holds only fraud."""
        accounts, places = self.world.accounts, self.world.cities
        if not len(time_ms):
            return self.pay(rng, np.empty(0, dtype=np.int32), time_ms, self.calendar.today(day))
        hour = (int(time_ms[0]) + places.clock_ms[accounts.city]) // rhythm.HOUR_MS % 24
        weight = accounts.activity * rhythm.weekday_factor(accounts.rhythm, day)
        cumulated = np.cumsum(weight * (rhythm.hour_factor(accounts.rhythm, hour) + 0.05))
        account = np.searchsorted(cumulated, rng.random(len(time_ms)) * cumulated[-1], side="right")
        return self.pay(
            rng, np.minimum(account, len(accounts) - 1).astype(np.int32), time_ms, self.calendar.today(day)
        )

    def pay(
        self, rng: np.random.Generator, account: NDArray[np.int32], time_ms: NDArray[np.int64], today: Today
    ) -> Payments:
        """One honest payment of each account at each time."""
        accounts, merchants, places = self.world.accounts, self.world.merchants, self.world.cities
        size = len(account)
        city = today.city[account]
        away = today.away[account]
        hour = (time_ms + places.clock_ms[city]) // rhythm.HOUR_MS % 24
        draw = rng.random(size)
        online = draw < accounts.online_share[account] * np.where(away, 0.7, 1.0)
        cash = ~online & (draw > 1 - accounts.cash_share[account] * np.where(away, 1.8, 1.0))
        merchant = self._shops(rng, account, city, away)
        merchant[cash] = merchants.in_city(rng, CASH, city[cash])
        # A closed shop sends its customer online.
        online |= ~cash & ~merchants.is_open(merchant, hour)
        merchant[online] = self._online(rng, account[online])
        channel = np.where(online, ECOM, np.where(cash, ATM, POS)).astype(np.int8)
        channel[online & (rng.random(size) < 0.03)] = MOTO
        device, device_type = self.device(rng, account, channel, today)
        latitude, longitude = self._where(rng, merchant, channel, city)
        return Payments(
            time_ms=time_ms,
            account=account,
            card=self._card(rng, account),
            merchant=merchant,
            euro_cents=self.amount(rng, account, merchant),
            channel=channel,
            device=device,
            device_type=device_type,
            address=self._address(rng, account, channel, away, today),
            latitude=latitude,
            longitude=longitude,
            present=(channel == POS) | (channel == ATM),
            scenario=np.full(size, GENUINE, dtype=np.int8),
            campaign=np.full(size, -1, dtype=np.int64),
        )

    def amount(
        self, rng: np.random.Generator, account: NDArray[np.int32], merchant: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Euro cents: by category and the account's spending, now and then much more, often a round price."""
        size = len(account)
        category = self.world.merchants.category[merchant]
        euros = np.exp(
            LOG_EUROS[category]
            + self.world.accounts.spending[account]
            + SPREAD[category] * rng.normal(size=size)
        )
        euros *= np.where(rng.random(size) < _BIG, rng.uniform(4, 20, size), 1.0)
        cents = np.maximum(np.rint(euros * 100), 20).astype(np.int64)
        price = rng.random(size)
        whole = (np.maximum(cents // 100, 1) * 100).astype(np.int64)
        cents = np.where(price < 0.12, whole, np.where((price < 0.30) & (cents > 300), whole - 1, cents))
        cash = self.world.merchants.kind[merchant] == CASH
        notes = np.clip(cents // 1000, 2, 60) * 1000
        amount: NDArray[np.int64] = np.where(cash, notes, np.minimum(cents, 2_000_000))
        return amount

    def device(
        self, rng: np.random.Generator, account: NDArray[np.int32], channel: NDArray[np.int8], today: Today
    ) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
        """The account's own device (phone, desktop, tablet), or one that somebody lent; none at most tills."""
        accounts, code = self.world.accounts, self.world.code
        size = len(account)
        wide = account.astype(np.int64)
        draw = rng.random(size)
        remote = channel == ECOM
        desktop = remote & accounts.desktop[account] & (draw < 0.35)
        tablet = remote & accounts.tablet[account] & (draw > 0.90)
        borrowed = remote & (rng.random(size) < 0.025)
        kind = np.where(desktop, DESKTOP, np.where(tablet, TABLET, MOBILE)).astype(np.int8)
        lent = rng.integers(0, 1 << 62, size)
        kind = np.where(borrowed, _BORROWED_TYPES.draw(rng, size), kind).astype(np.int8)
        wallet = (channel == POS) & accounts.wallet[account] & (draw < 0.7)
        none = ~(remote | wallet) | (remote & (rng.random(size) < 0.04))
        device = np.full(size, NO_CODE)
        for owned, number, of in (
            (~(desktop | tablet), _PHONE, (wide, today.phone[account])),
            (desktop, _DESKTOP, (wide,)),
            (tablet & ~desktop, _TABLET, (wide,)),
            (borrowed, _BORROWED, (lent,)),
        ):
            rows = np.flatnonzero(owned & ~none & (borrowed if number == _BORROWED else ~borrowed))
            device[rows] = code(number, *(part[rows] for part in of))
        return device, np.where(none, OTHER, kind).astype(np.int8)

    def _shops(
        self,
        rng: np.random.Generator,
        account: NDArray[np.int32],
        city: NDArray[np.int16],
        away: NDArray[np.bool_],
    ) -> NDArray[np.int32]:
        # min of two draws: the first favourites are visited most
        rank = np.minimum(
            rng.integers(0, LOCAL_FAVOURITES, len(account)), rng.integers(0, LOCAL_FAVOURITES, len(account))
        )
        favourite = self.world.accounts.local_favourites[account, rank]
        new = self.world.merchants.in_city(rng, SHOP, city)
        return np.where(away | (rng.random(len(account)) > _FAVOURITE), new, favourite).astype(np.int32)

    def _online(self, rng: np.random.Generator, account: NDArray[np.int32]) -> NDArray[np.int32]:
        rank = np.minimum(
            rng.integers(0, ONLINE_FAVOURITES, len(account)), rng.integers(0, ONLINE_FAVOURITES, len(account))
        )
        favourite = self.world.accounts.online_favourites[account, rank]
        new = self.world.merchants.online.draw(rng, len(account))
        return np.where(rng.random(len(account)) > _FAVOURITE, new, favourite).astype(np.int32)

    def _card(self, rng: np.random.Generator, account: NDArray[np.int32]) -> NDArray[np.int8]:
        draw = rng.random(len(account)) ** 2 * self.world.accounts.cards[account]
        return draw.astype(np.int8)

    def _address(
        self,
        rng: np.random.Generator,
        account: NDArray[np.int32],
        channel: NDArray[np.int8],
        away: NDArray[np.bool_],
        today: Today,
    ) -> NDArray[np.uint64]:
        size = len(account)
        pool = rng.integers(0, 20 * len(self.world.accounts), size)
        mobile = away | (rng.random(size) < 0.3)
        address = np.full(size, NO_CODE)
        rows = np.flatnonzero((channel == ECOM) & mobile)
        address[rows] = self.world.code(_MOBILE_NETWORK, pool[rows])
        rows = np.flatnonzero((channel == ECOM) & ~mobile)
        homes = account[rows]
        address[rows] = self.world.code(_HOME, homes.astype(np.int64), today.network[homes])
        return address

    def _where(
        self,
        rng: np.random.Generator,
        merchant: NDArray[np.int32],
        channel: NDArray[np.int8],
        city: NDArray[np.int16],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The till's place; online the network's, which is coarse, at times elsewhere, often unknown."""
        merchants, places = self.world.merchants, self.world.cities
        size = len(merchant)
        elsewhere = rng.random(size) < 0.05
        seen = np.where(elsewhere, places.visited.draw(rng, size), city)
        remote = (channel == ECOM) | (channel == MOTO)
        unknown = remote & ((rng.random(size) < 0.25) | (channel == MOTO))
        latitude = np.where(
            remote, places.latitude[seen] + rng.normal(0, 0.15, size), merchants.latitude[merchant]
        )
        longitude = np.where(
            remote, places.longitude[seen] + rng.normal(0, 0.2, size), merchants.longitude[merchant]
        )
        return np.where(unknown, np.nan, latitude), np.where(unknown, np.nan, longitude)

    def _sprees(self, rng: np.random.Generator, payments: Payments) -> Payments:
        """More payments soon after some: an afternoon's shopping, or many tiny purchases in a game."""
        online = self.world.merchants.kind[payments.merchant] == ONLINE
        digital = online & np.isin(self.world.merchants.category[payments.merchant], DIGITAL)
        starts = np.flatnonzero(rng.random(len(payments)) < np.where(digital, 2.5 * _SPREE, _SPREE))
        more = rng.integers(1, 5, len(starts))
        rows = np.repeat(starts, more)
        first = np.repeat(np.cumsum(more) - more, more)
        same = digital[rows]
        gap_ms = rng.exponential(np.where(same, 3.0, 20.0)) * rhythm.MINUTE_MS + 8_000
        elapsed = np.cumsum(gap_ms)
        elapsed = elapsed - elapsed[first] + gap_ms[first] if len(rows) else elapsed
        spree = payments.take(rows)
        time_ms = spree.time_ms + elapsed.astype(np.int64)
        # Another shop of the same city for shoppers, the same merchant for players.
        others = self.world.merchants.online.draw(rng, len(rows))
        shops = spree.channel == POS
        others[shops] = self.world.merchants.in_city(
            rng, SHOP, self.world.merchants.city[spree.merchant[shops]]
        )
        stays = same | (spree.channel == ATM) | (spree.channel == MOTO)
        merchant = np.where(stays, spree.merchant, others).astype(np.int32)
        latitude = np.where(shops, self.world.merchants.latitude[merchant], spree.latitude)
        longitude = np.where(shops, self.world.merchants.longitude[merchant], spree.longitude)
        return Payments(
            time_ms=time_ms,
            account=spree.account,
            card=spree.card,
            merchant=merchant,
            euro_cents=self.amount(rng, spree.account, merchant),
            channel=spree.channel,
            device=spree.device,
            device_type=spree.device_type,
            address=spree.address,
            latitude=latitude,
            longitude=longitude,
            present=spree.present,
            scenario=spree.scenario,
            campaign=spree.campaign,
        )
